use std::{collections::BTreeSet, net::IpAddr};

use serde::{Deserialize, Serialize};

use crate::{DatabaseName, NodeId, UnixMillis};

/// A registered sidecar. Barriers wait for the registered sidecars, not for the connected
/// ones.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    pub id: NodeId,
    /// The address on which the sidecar's listeners listen.
    pub listen: IpAddr,
    pub registered_at: UnixMillis,
    /// Whether it is a canary: it gets a change before the others.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub canary: bool,
    /// The databases that it may use; `None` means all, also those that are declared later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub databases: Option<BTreeSet<DatabaseName>>,
}
