use std::{collections::BTreeSet, net::IpAddr};

use serde::{Deserialize, Serialize};

use crate::{DatabaseName, NodeId, UnixMillis};

/// A registered sidecar. The registry, not the set of connections, is the
/// denominator of every barrier.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    pub id: NodeId,
    /// The address on which the sidecar's listeners listen.
    pub listen: IpAddr,
    pub registered_at: UnixMillis,
    /// Whether it tries a change before the others get it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub canary: bool,
    /// The databases that exist for it; `None` for every one, also those declared later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub databases: Option<BTreeSet<DatabaseName>>,
}
