use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{GroupName, NodeId};

/// A member of a sidecar group that barriers await. It is on record so that the next process awaits it,
/// too, until it has come back or its lease has ended.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct GroupMember {
    pub id: NodeId,
    pub group: GroupName,
    /// The SPIFFE ID that it has proven.
    pub identity: String,
    /// Where it listens.
    pub listen: IpAddr,
}
