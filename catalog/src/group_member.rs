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
    /// It has gone silent; `None` while it has not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silence: Option<Silence>,
}

/// What is known of a member that has gone silent.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Silence {
    /// Its lease ends by itself.
    Passing,
    /// Its last report shows sessions: its lease is kept until it comes back or an operator gives it up.
    Kept,
}
