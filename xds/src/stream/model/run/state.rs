use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use tokio::time::Instant;

use super::super::{
    peer::Peer,
    snapshot_generator::{KINDS, SnapshotGenerator},
};
use crate::{
    fixture::TERMS,
    published::PublishedSnapshot,
    resource::{ResourceType, Version},
    stream::{Machine, Response, Transport, UnconfirmedByType},
};

/// A server, a client, and what is on its way between them.
pub(super) struct Run {
    pub(super) transport: Transport,
    pub(super) state: SnapshotGenerator,
    pub(super) machine: Machine,
    pub(super) published: Option<Arc<PublishedSnapshot>>,
    pub(super) sequence: u64,
    pub(super) now: Instant,
    pub(super) peers: BTreeMap<ResourceType, Peer>,
    pub(super) to_client: VecDeque<Response>,
    pub(super) to_server: VecDeque<Request>,
    pub(super) clusters_sent: Vec<String>,
    pub(super) trace: Vec<String>,
    pub(super) starts: u32,
    /// Of former streams.
    pub(super) unconfirmed: UnconfirmedByType,
}

/// A request of the client.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) kind: ResourceType,
    pub(super) names: Vec<String>,
    pub(super) unsubscribe: Vec<String>,
    pub(super) listed: BTreeMap<String, Version>,
    pub(super) version: String,
    pub(super) nonce: String,
    pub(super) refused: bool,
}

impl Run {
    pub(super) fn new(transport: Transport) -> Self {
        Self {
            transport,
            state: SnapshotGenerator::new(),
            machine: Machine::new(transport, "server0".into(), TERMS),
            published: None,
            sequence: 0,
            now: Instant::now(),
            peers: KINDS
                .into_iter()
                .map(|kind| (kind, Peer::default()))
                .collect(),
            to_client: VecDeque::new(),
            to_server: VecDeque::new(),
            clusters_sent: Vec::new(),
            trace: Vec::new(),
            starts: 0,
            unconfirmed: UnconfirmedByType::default(),
        }
    }

    pub(super) fn send(&mut self, request: Request) {
        self.trace.push(format!("client asks {request:?}"));
        self.to_server.push_back(request);
    }

    /// Whether missing resources are removed from the client.
    pub(super) fn is_exact(&self, kind: ResourceType) -> bool {
        self.transport == Transport::Delta || is_full_state(self.transport, kind)
    }

    pub(super) fn peer(&mut self, kind: ResourceType) -> &mut Peer {
        self.peers.entry(kind).or_default()
    }
}

/// Whether a response of this type has every resource of it.
pub(super) fn is_full_state(transport: Transport, kind: ResourceType) -> bool {
    transport == Transport::StateOfTheWorld
        && matches!(
            kind,
            ResourceType::Cluster | ResourceType::Listener | ResourceType::ScopedRoute
        )
}
