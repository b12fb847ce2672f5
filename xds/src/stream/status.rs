//! The status of a client, as the fleet and its users see it.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::Nack;
use crate::{
    resource::{ResourceType, Version},
    sequence::Sequence,
};

/// A response that was sent.
#[derive(Clone, Debug)]
pub struct Sent {
    pub sequence: Sequence,
    pub at: Instant,
}

/// A response that the client acknowledged.
#[derive(Clone, Debug)]
pub struct Acknowledged {
    /// The version of the response's set or, for a full state, of its content.
    pub version: Version,
    pub sequence: Sequence,
    pub at: Instant,
    /// The time from sending to the ACK.
    pub after: Duration,
}

/// The state of a client for one type, relative to the newest snapshot.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TypeState {
    /// Something must be sent, and nothing has been sent yet.
    NotSent,
    /// Something is in flight, or waits to be sent.
    Stale,
    /// Something is in flight and was not answered in time ([`crate::Limits::answer`]).
    Lagging {
        /// When it was sent.
        since: Instant,
    },
    /// It has NACKed content that it should have, with this message. `resources` holds the first
    /// [`TypeState::MAX_RESOURCES`] names; it is empty if the NACK covers the whole type.
    Nacked {
        message: Arc<str>,
        resources: Vec<Arc<str>>,
    },
    /// It has acknowledged all of it.
    Synced,
}

impl TypeState {
    /// The maximal number of names in `Nacked`.
    pub const MAX_RESOURCES: usize = 256;
}

/// The status of one type on one stream.
#[derive(Clone, Debug)]
pub struct TypeStatus {
    pub kind: ResourceType,
    pub state: TypeState,
    /// The last response.
    pub sent: Option<Sent>,
    /// The last ACK.
    pub acknowledged: Option<Acknowledged>,
    /// The last NACK, also if the content has changed since.
    pub nacked: Option<Arc<Nack>>,
}
