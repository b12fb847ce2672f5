//! The ledger's entries: nodes and their streams.

use std::sync::Arc;

use slab::Slab;
use smallvec::SmallVec;
use tokio::time::Instant;

use super::{
    convergence::{NodeConvergence, Outcome},
    record::Record,
    status::About,
};
use crate::{
    cache::RequiredSequence,
    group::Group,
    lease::GivenLease,
    node::NodeId,
    peer::Peer,
    sequence::Sequence,
    stream::{TypeState, TypeStatus, UnconfirmedByType},
};

#[derive(Debug)]
pub(super) struct Node {
    pub(super) id: NodeId,
    pub(super) registered: bool,
    pub(super) retired: Option<Instant>,
    /// Barriers await the node for as long as it has one.
    pub(super) lease: Option<GivenLease>,
    /// The indexes of its open streams, the newest last.
    pub(super) streams: SmallVec<[usize; 2]>,
    /// What it may have from streams that have ended.
    pub(super) unconfirmed: Option<Box<UnconfirmedByType>>,
    pub(super) record: Record,
}

#[derive(Debug)]
pub(super) struct Stream {
    pub(super) node: usize,
    pub(super) peer: Peer,
    pub(super) about: Arc<About>,
    pub(super) group: Group,
    pub(super) required: RequiredSequence,
    pub(super) since: Instant,
    /// The newest snapshot that the stream has loaded.
    pub(super) newest: Option<Sequence>,
    pub(super) synced_to: Option<Sequence>,
    pub(super) types: Vec<TypeStatus>,
    /// An older stream has ended since and left something unconfirmed that was not known when this
    /// stream began. The client must reconnect; until then its ACKs do not count.
    pub(super) must_reconnect: bool,
}

impl Node {
    /// Whether barriers that begin now wait for it.
    pub(super) fn is_awaited(&self) -> bool {
        self.registered || self.lease.is_some()
    }
}

/// The state of a node, relative to `sequence`. If the last publish of the node's group is older, the
/// node must have that one. `None` stands for a sequence that no node can have.
pub(super) fn node_convergence(
    node: &Node,
    streams: &Slab<Stream>,
    sequence: Option<Sequence>,
) -> NodeConvergence {
    if node.streams.is_empty() {
        return NodeConvergence::Absent;
    }
    let Some(sequence) = sequence else {
        return NodeConvergence::Lagging;
    };
    let (mut nacked, mut lagging) = (false, false);
    for stream in &node.streams {
        let stream = &streams[*stream];
        if stream.synced_to >= Some(sequence) {
            continue;
        }
        let newest = stream.required.of(&node.id);
        let required = newest.map_or(sequence, |newest| newest.min(sequence));
        if stream.synced_to >= Some(required) {
            continue;
        }
        let has_nacked = stream.newest >= Some(required) && stream.has_nacked();
        nacked |= has_nacked;
        lagging |= !has_nacked || stream.is_unanswered();
    }
    match (nacked, lagging) {
        (true, lagging) => NodeConvergence::Nacked { lagging },
        (false, true) => NodeConvergence::Lagging,
        (false, false) => NodeConvergence::Synced,
    }
}

impl Stream {
    /// Whether this stream began without knowing what the `ended` stream leaves unconfirmed: the
    /// client received it before it opened this stream.
    pub(super) fn began_without(&self, ended: &Self, left: &UnconfirmedByType) -> bool {
        ended.types.iter().any(|status| {
            let sent = status.sent.as_ref();
            let before = sent.is_some_and(|sent| sent.at <= self.since);
            before && !left.of(status.kind).names.is_empty()
        })
    }

    fn has_nacked(&self) -> bool {
        let mut types = self.types.iter();
        types.any(|status| matches!(status.state, TypeState::Nacked { .. }))
    }

    /// Whether something of any type is not answered yet.
    fn is_unanswered(&self) -> bool {
        self.types.iter().any(|status| match status.state {
            TypeState::NotSent | TypeState::Stale | TypeState::Lagging { .. } => true,
            TypeState::Nacked { .. } | TypeState::Synced => false,
        })
    }

    pub(super) fn nack_outcome(&self) -> Option<Outcome> {
        self.types.iter().find_map(|status| match &status.state {
            TypeState::Nacked { message, resources } => Some(Outcome::Nacked {
                kind: status.kind,
                resources: resources.clone(),
                message: Arc::clone(message),
            }),
            TypeState::NotSent
            | TypeState::Stale
            | TypeState::Lagging { .. }
            | TypeState::Synced => None,
        })
    }
}
