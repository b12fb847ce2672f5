//! One entry per node and one per open stream, and the barriers that wait for them. An
//! acknowledgement finds its entry by its place, writes into it, and changes one mark and two
//! numbers per barrier: its cost does not grow with the fleet.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use slab::Slab;
use smallvec::SmallVec;
use tokio::time::Instant;

use super::{
    convergence::{Barrier, Convergence, Mark, NodeConvergence, Outcome},
    entry::{Node, Stream, node_convergence},
    record::{self, Record},
    status::{About, NodeRecord, NodeStatus},
};
use crate::{
    cache::SnapshotCache,
    group::Group,
    node::{NodeDescription, NodeId},
    peer::Peer,
    sequence::Sequence,
    stream::{TypeState, TypeStatus, UnconfirmedByType},
};

#[derive(Debug)]
pub(super) struct Ledger {
    cache: Arc<SnapshotCache>,
    nodes: Slab<Node>,
    places: HashMap<NodeId, usize>,
    streams: Slab<Stream>,
    barriers: Slab<Barrier>,
    /// Nodes that nobody registered and that went, in the order in which they did; they are
    /// forgotten in time.
    strangers: VecDeque<(usize, Instant)>,
    /// Of the stream that came last: most clients of a fleet say the same of themselves.
    about: Option<Arc<About>>,
}

impl Ledger {
    pub(super) fn new(cache: Arc<SnapshotCache>) -> Self {
        Self {
            cache,
            nodes: Slab::new(),
            places: HashMap::new(),
            streams: Slab::new(),
            barriers: Slab::new(),
            strangers: VecDeque::new(),
            about: None,
        }
    }

    pub(super) fn set_registered(&mut self, registered: BTreeSet<NodeId>, now: Instant) {
        for (place, node) in &mut self.nodes {
            let was = std::mem::replace(&mut node.registered, registered.contains(&node.id));
            if was && !node.registered {
                node.retired = Some(now);
                if node.streams.is_empty() {
                    let gone = *node.record.gone.get_or_insert(now);
                    self.strangers.push_back((place, gone));
                }
            } else if node.registered {
                node.retired = None;
            }
        }
        for id in registered {
            let place = self.intern(id);
            self.nodes[place].registered = true;
        }
        self.forget_strangers(now);
    }

    /// Returns the stream's place, and what the node may have without saying so.
    pub(super) fn connect(
        &mut self,
        description: NodeDescription,
        group: Group,
        peer: Peer,
        now: Instant,
    ) -> (usize, Option<Box<UnconfirmedByType>>) {
        let node = self.intern(description.id.clone());
        let about = About::of(description, self.about.as_ref());
        self.about = Some(Arc::clone(&about));
        let stream = self.streams.insert(Stream {
            node,
            peer,
            about,
            required: self.cache.required_sequence(&group),
            group,
            since: now,
            newest: None,
            synced_to: None,
            types: Vec::new(),
            recalled: false,
        });
        let unconfirmed = self.unconfirmed(node);
        self.nodes[node].streams.push(stream);
        self.assess(node);
        (stream, unconfirmed)
    }

    /// What became of an ended stream's content is known; of one that is still open, a client
    /// that comes back tells nothing.
    fn unconfirmed(&self, node: usize) -> Option<Box<UnconfirmedByType>> {
        let node = &self.nodes[node];
        let mut unconfirmed = node.unconfirmed.clone();
        let open = node.streams.iter().flat_map(|at| &self.streams[*at].types);
        for status in open.filter(|status| status.state != TypeState::Synced) {
            unconfirmed
                .get_or_insert_default()
                .distrust_claims(status.kind);
        }
        unconfirmed
    }

    /// Says whether another stream was called back for it.
    pub(super) fn disconnect(
        &mut self,
        stream: usize,
        unconfirmed: Option<Box<UnconfirmedByType>>,
        now: Instant,
    ) -> bool {
        let Some(ended) = self.streams.try_remove(stream) else {
            return false;
        };
        let node = &mut self.nodes[ended.node];
        node.streams.retain(|open| *open != stream);
        let left = unconfirmed.as_deref();
        let recalled = left.is_some_and(|left| self.recall(ended.node, &ended, left));
        let node = &mut self.nodes[ended.node];
        let informed = !ended.recalled;
        node.unconfirmed =
            UnconfirmedByType::after(node.unconfirmed.take(), &ended.types, unconfirmed, informed);
        node.record.absorb(&ended.types, ended.peer, now);
        if node.streams.is_empty() && !node.registered {
            self.strangers.push_back((ended.node, now));
        }
        self.assess(ended.node);
        self.forget_strangers(now);
        recalled
    }

    pub(super) fn is_recalled(&self, stream: usize) -> bool {
        self.streams.get(stream).is_some_and(|entry| entry.recalled)
    }

    /// Lets the node's streams come again that were opened before the server knew that another
    /// one had ended, and do not know what it `left`. What they acknowledge does not count. Says
    /// whether there are any.
    fn recall(&mut self, node: usize, ended: &Stream, left: &UnconfirmedByType) -> bool {
        let mut any = false;
        for open in &self.nodes[node].streams {
            let stream = &mut self.streams[*open];
            if stream.misses(ended, left) {
                stream.recalled = true;
                stream.synced_to = None;
                any = true;
            }
        }
        any
    }

    /// Enters how the stream's client stands now: `changes` of types, and up to which snapshot
    /// it has everything, if that is the newest one that it knows of.
    pub(super) fn report(
        &mut self,
        stream: usize,
        newest: Option<Sequence>,
        synced_to: Option<Sequence>,
        changes: impl Iterator<Item = TypeStatus>,
    ) {
        let Some(entry) = self.streams.get_mut(stream) else {
            return;
        };
        entry.newest = newest;
        if !entry.recalled {
            entry.synced_to = synced_to.or(entry.synced_to);
        }
        let node = entry.node;
        for status in changes {
            if let Some(nack) = record::enter(&mut entry.types, status) {
                self.nodes[node].record.add_nack(nack);
            }
        }
        self.assess(node);
    }

    /// Begins a wait, for the registered nodes or for those `among` whom it matters. Returns
    /// its place.
    pub(super) fn begin(
        &mut self,
        mut barrier: Barrier,
        among: Option<&BTreeSet<NodeId>>,
    ) -> usize {
        // A number of another process, or made up.
        barrier.sequence = barrier.sequence.filter(|own| *own <= self.cache.newest());
        let places: Vec<_> = match among {
            Some(ids) => ids.iter().map(|id| self.name(id, barrier.began)).collect(),
            None => {
                let registered = self.nodes.iter().filter(|(_, node)| node.registered);
                registered.map(|(place, _)| place).collect()
            }
        };
        for place in places {
            let state = node_convergence(&self.nodes[place], &self.streams, barrier.sequence);
            barrier.await_node(place, state);
        }
        barrier.decide();
        self.barriers.insert(barrier)
    }

    pub(super) fn conclude(&self, barrier: usize, now: Instant) -> Convergence {
        let barrier = &self.barriers[barrier];
        let (mut nodes, mut others) = (Vec::new(), Vec::new());
        for (place, node) in &self.nodes {
            let mark = barrier.mark_of(place);
            let outcome = match mark {
                Mark::Synced { after_us } => Outcome::Synced {
                    after: Duration::from_micros(after_us.into()),
                },
                Mark::Now(_) | Mark::NotAwaited => self.outcome(node, barrier.sequence),
            };
            if mark != Mark::NotAwaited {
                nodes.push((node.id.clone(), outcome));
            } else if !node.streams.is_empty() {
                others.push((node.id.clone(), outcome));
            }
        }
        barrier.conclude(nodes, others, now)
    }

    pub(super) fn end(&mut self, barrier: usize, now: Instant) {
        self.barriers.try_remove(barrier);
        self.forget_strangers(now);
    }

    /// Every node that is registered or connected, by id.
    pub(super) fn status(&self, wanted: impl Fn(&NodeId) -> bool) -> Vec<NodeStatus> {
        let nodes = self.nodes.iter().map(|(_, node)| node);
        let mut status: Vec<_> = nodes
            .filter(|node| node.registered || !node.streams.is_empty())
            .filter(|node| wanted(&node.id))
            .map(|node| self.node_status(node))
            .collect();
        status.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        status
    }

    pub(super) fn record(&self, id: &NodeId) -> Option<NodeRecord> {
        let node = &self.nodes[*self.places.get(id)?];
        let open = node.streams.iter().map(|stream| &self.streams[*stream]);
        Some(NodeRecord {
            status: self.node_status(node),
            deliveries: node.record.with(open.flat_map(|stream| &stream.types)),
            nacks: node.record.nacks(),
        })
    }

    /// Nobody is connected and nobody waits.
    #[cfg(test)]
    pub(super) fn is_at_rest(&self) -> bool {
        self.streams.is_empty() && self.barriers.is_empty()
    }

    #[cfg(test)]
    pub(super) fn barriers_are_gone(&self) -> bool {
        self.barriers.is_empty()
    }

    /// A node that may never have been here; if so, it is one that went.
    fn name(&mut self, id: &NodeId, now: Instant) -> usize {
        let known = self.places.contains_key(id);
        let place = self.intern(id.clone());
        if !known {
            self.nodes[place].record.gone = Some(now);
            self.strangers.push_back((place, now));
        }
        place
    }

    fn intern(&mut self, id: NodeId) -> usize {
        if let Some(place) = self.places.get(&id) {
            return *place;
        }
        let place = self.nodes.insert(Node {
            id: id.clone(),
            registered: false,
            retired: None,
            streams: SmallVec::new(),
            unconfirmed: None,
            record: Record::default(),
        });
        self.places.insert(id, place);
        place
    }

    /// Tells each barrier where the node stands now.
    fn assess(&mut self, place: usize) {
        for (_, barrier) in &mut self.barriers {
            if barrier.is_open_for(place) {
                let node = &self.nodes[place];
                let state = node_convergence(node, &self.streams, barrier.sequence);
                barrier.enter(place, state, Instant::now());
            }
        }
    }

    fn outcome(&self, node: &Node, sequence: Option<Sequence>) -> Outcome {
        match node_convergence(node, &self.streams, sequence) {
            NodeConvergence::Synced => Outcome::Synced {
                after: Duration::ZERO,
            },
            NodeConvergence::Lagging => Outcome::Lagging,
            NodeConvergence::Absent => Outcome::Absent,
            NodeConvergence::Nacked { .. } => {
                let mut streams = node.streams.iter().map(|stream| &self.streams[*stream]);
                streams
                    .find_map(Stream::refusal)
                    .unwrap_or(Outcome::Lagging)
            }
        }
    }

    fn node_status(&self, node: &Node) -> NodeStatus {
        let streams = || node.streams.iter().map(|stream| &self.streams[*stream]);
        let newest = streams().next_back();
        let synced = |stream: &Stream| {
            let newest = stream.required.of(&node.id);
            newest.is_some() && stream.synced_to >= newest
        };
        NodeStatus {
            id: node.id.clone(),
            registered: node.registered,
            retired: node.retired,
            streams: node.streams.len(),
            peers: if node.streams.is_empty() {
                node.record.peer.iter().cloned().collect()
            } else {
                streams().map(|stream| stream.peer.clone()).collect()
            },
            gone: node.record.gone.filter(|_| node.streams.is_empty()),
            group: newest.map(|stream| stream.group.clone()),
            about: newest.map(|stream| Arc::clone(&stream.about)),
            connected_since: newest.map(|stream| stream.since),
            types: newest.map_or_else(Vec::new, |stream| stream.types.clone()),
            synced_to: streams().map(|stream| stream.synced_to).min().flatten(),
            synced: !node.streams.is_empty() && streams().all(synced),
            nacks: node.record.nack_count(),
        }
    }

    /// Not while anybody waits: a barrier knows nodes by their places.
    pub(super) fn forget_strangers(&mut self, now: Instant) {
        while self.barriers.is_empty()
            && let Some((place, gone)) = self.strangers.front().copied()
            && (self.strangers.len() > MAX_STRANGERS || now >= gone + REMEMBERED)
        {
            self.strangers.pop_front();
            let node = self.nodes.get(place);
            let still_gone = node.is_some_and(|node| {
                !node.registered && node.streams.is_empty() && node.record.gone == Some(gone)
            });
            if still_gone {
                let node = self.nodes.remove(place);
                self.places.remove(&node.id);
            }
        }
    }
}

/// How long a node that nobody registered is kept on record after it went.
const REMEMBERED: Duration = Duration::from_secs(60 * 60);
/// How many of them; names are free to make up.
const MAX_STRANGERS: usize = 1024;
