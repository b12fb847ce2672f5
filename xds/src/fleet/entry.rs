//! A node and its streams, as the ledger keeps them.

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
    /// The places of its open streams, the newest last.
    pub(super) streams: SmallVec<[usize; 2]>,
    /// What it may have of streams that ended.
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
    /// The newest snapshot that the stream knows of.
    pub(super) newest: Option<Sequence>,
    pub(super) synced_to: Option<Sequence>,
    pub(super) types: Vec<TypeStatus>,
    /// An older stream has ended since, and left behind what this one was not told of: it must
    /// be opened again, and until then what it acknowledges does not count.
    pub(super) recalled: bool,
}

/// Where a node stands towards `sequence`. What it must have is the content that was current
/// then: a group that later publishes left alone stands at an older one. Without a sequence:
/// towards something that nobody can have.
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
    let (mut refusing, mut lagging) = (false, false);
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
        let refuses = stream.newest >= Some(required) && stream.is_refusing();
        refusing |= refuses;
        lagging |= !refuses || stream.is_unanswered();
    }
    match (refusing, lagging) {
        (true, lagging) => NodeConvergence::Nacked { lagging },
        (false, true) => NodeConvergence::Lagging,
        (false, false) => NodeConvergence::Synced,
    }
}

impl Stream {
    /// Whether this stream cannot know of `left`, which an `ended` one leaves behind: the client
    /// got that before it opened this stream, and the server learns so only now.
    pub(super) fn misses(&self, ended: &Self, left: &UnconfirmedByType) -> bool {
        ended.types.iter().any(|status| {
            let sent = status.sent.as_ref();
            let before = sent.is_some_and(|sent| sent.at <= self.since);
            before && !left.of(status.kind).names.is_empty()
        })
    }

    fn is_refusing(&self) -> bool {
        let mut types = self.types.iter();
        types.any(|status| matches!(status.state, TypeState::Nacked { .. }))
    }

    /// Whether there is a type for which it has not answered yet.
    fn is_unanswered(&self) -> bool {
        self.types.iter().any(|status| match status.state {
            TypeState::NotSent | TypeState::Stale | TypeState::Lagging { .. } => true,
            TypeState::Nacked { .. } | TypeState::Synced => false,
        })
    }

    pub(super) fn refusal(&self) -> Option<Outcome> {
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
