//! How a client stands, in words for people and for the fleet.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::Nack;
use crate::{
    resource::{ResourceType, Version},
    sequence::Sequence,
};

/// A response that was put on its way.
#[derive(Clone, Debug)]
pub struct Sent {
    pub sequence: Sequence,
    pub at: Instant,
}

/// A response that the client accepted.
#[derive(Clone, Debug)]
pub struct Acknowledged {
    /// Of the set that the response was cut from or, in state of the world, of its content.
    pub version: Version,
    pub sequence: Sequence,
    pub at: Instant,
    /// From sending to the ACK.
    pub after: Duration,
}

/// How a client stands towards the newest snapshot, for one type.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TypeState {
    /// Nothing was sent yet and something should be.
    NotSent,
    /// Something is on its way, or waits for its turn.
    Stale,
    /// Something is on its way and was not answered in time ([`crate::Limits::answer`]).
    Lagging {
        /// When it was sent.
        since: Instant,
    },
    /// It NACKed content that it should have, with this message. `resources` holds the first
    /// [`TypeState::MAX_RESOURCES`] names; it is empty if the NACK covers the whole type.
    Nacked {
        message: Arc<str>,
        resources: Vec<Arc<str>>,
    },
    /// It has acknowledged all of it.
    Synced,
}

impl TypeState {
    /// Names that are shown of those that a client refuses.
    pub const MAX_RESOURCES: usize = 256;
}

/// One type on one stream.
#[derive(Clone, Debug)]
pub struct TypeStatus {
    pub kind: ResourceType,
    pub state: TypeState,
    /// The last response that was put on its way.
    pub sent: Option<Sent>,
    /// The last one that the client accepted.
    pub acknowledged: Option<Acknowledged>,
    /// The last one that it refused, whether that stands or not.
    pub nacked: Option<Arc<Nack>>,
}
