use std::time::Duration;

use tokio::time::Instant;

use crate::{
    cache::{Group, Sequence},
    node::{NodeDescription, NodeId},
    stream::TypeStatus,
};

/// One node, as the server sees it.
#[derive(Clone, Debug)]
pub struct NodeStatus {
    pub id: NodeId,
    pub registered: bool,
    /// Open streams. More than one: it is reconnecting, or two clients use one id.
    pub streams: usize,
    /// Of the newest stream; the following fields are `None` or empty without one.
    pub group: Option<Group>,
    pub description: Option<NodeDescription>,
    pub connected_since: Option<Instant>,
    /// By type, those that it subscribes to, in the order of [`crate::ResourceType::ALL`].
    pub types: Vec<TypeStatus>,
    /// The newest snapshot that all its streams have acknowledged in full.
    pub synced_to: Option<Sequence>,
    /// Whether that has the content of its group's newest snapshot.
    pub synced: bool,
}

impl NodeStatus {
    #[must_use]
    pub fn connected(&self) -> bool {
        self.streams > 0
    }

    /// From sending to the ACK, of the newest response that it acknowledged.
    #[must_use]
    pub fn last_ack(&self) -> Option<Duration> {
        self.types
            .iter()
            .filter_map(|status| status.acknowledged.as_ref())
            .max_by_key(|acknowledged| acknowledged.at)
            .map(|acknowledged| acknowledged.after)
    }
}
