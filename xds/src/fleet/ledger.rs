//! One entry per node and one per open stream, and the barriers that wait for them. An ACK finds its
//! entry by index and changes one mark and two numbers per barrier, so its cost does not depend on
//! the size of the fleet.

mod cohort;
mod leases;

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use slab::Slab;
use smallvec::SmallVec;
use tokio::time::Instant;

use self::cohort::Cohort;
use super::{
    convergence::{Barrier, Convergence, Mark, NodeConvergence, Outcome},
    entry::{Node, Stream, node_convergence},
    record::{self, Record},
    status::{About, NodeRecord, NodeStatus},
};
use crate::{
    cache::SnapshotCache,
    group::Group,
    lease::Lease,
    node::{NodeDescription, NodeId},
    peer::Peer,
    sequence::Sequence,
    stream::{TypeState, TypeStatus, UnconfirmedByType},
};

#[derive(Debug)]
pub(super) struct Ledger {
    cache: Arc<SnapshotCache>,
    nodes: Slab<Node>,
    indexes: HashMap<NodeId, usize>,
    streams: Slab<Stream>,
    barriers: Slab<Barrier>,
    /// Unregistered nodes that have disconnected, the oldest first. They are removed after a time.
    departed: VecDeque<(usize, Instant)>,
    /// When the leases of nodes without a stream end, by the node's index.
    lease_ends: BTreeSet<(Instant, usize)>,
    /// Of the nodes with a lease, by [`Lease::cohort`].
    cohorts: HashMap<Arc<str>, Cohort>,
    /// The description of the newest stream. Most clients of a fleet share it.
    about: Option<Arc<About>>,
}

impl Ledger {
    pub(super) fn new(cache: Arc<SnapshotCache>) -> Self {
        Self {
            cache,
            nodes: Slab::new(),
            indexes: HashMap::new(),
            streams: Slab::new(),
            barriers: Slab::new(),
            departed: VecDeque::new(),
            lease_ends: BTreeSet::new(),
            cohorts: HashMap::new(),
            about: None,
        }
    }

    pub(super) fn set_registered(&mut self, registered: BTreeSet<NodeId>, now: Instant) {
        for (index, node) in &mut self.nodes {
            let was = std::mem::replace(&mut node.registered, registered.contains(&node.id));
            if was && !node.registered {
                node.retired = Some(now);
                if node.streams.is_empty() && node.lease.is_none() {
                    let gone = *node.record.gone.get_or_insert(now);
                    self.departed.push_back((index, gone));
                }
            } else if node.registered {
                node.retired = None;
            }
        }
        for id in registered {
            let index = self.get_or_insert(id);
            self.nodes[index].registered = true;
        }
        self.remove_departed(now);
    }

    /// Adds a stream. Returns its index, and what the node may have without having acknowledged it.
    pub(super) fn connect(
        &mut self,
        description: NodeDescription,
        group: Group,
        peer: Peer,
        lease: Option<Lease>,
        now: Instant,
    ) -> (usize, Option<Box<UnconfirmedByType>>) {
        let node = self.get_or_insert(description.id.clone());
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
            must_reconnect: false,
        });
        let unconfirmed = self.unconfirmed(node);
        self.give_lease(node, lease, now);
        self.nodes[node].streams.push(stream);
        self.update_barriers(node);
        (stream, unconfirmed)
    }

    /// What the node may have from ended streams. While another stream is open, the node's claims do
    /// not count for any type that this stream has not synced.
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

    /// Removes a stream, of a client that has gone `silent` or of one that has closed it. Returns
    /// whether other streams of the node must reconnect.
    pub(super) fn disconnect(
        &mut self,
        stream: usize,
        unconfirmed: Option<Box<UnconfirmedByType>>,
        silent: bool,
        now: Instant,
    ) -> bool {
        let Some(ended) = self.streams.try_remove(stream) else {
            return false;
        };
        let node = &mut self.nodes[ended.node];
        node.streams.retain(|open| *open != stream);
        let left = unconfirmed.as_deref();
        let others_must_reconnect =
            left.is_some_and(|left| self.request_reconnects(ended.node, &ended, left));
        let node = &mut self.nodes[ended.node];
        let informed = !ended.must_reconnect;
        node.unconfirmed =
            UnconfirmedByType::after(node.unconfirmed.take(), &ended.types, unconfirmed, informed);
        node.record.absorb(&ended.types, ended.peer, now);
        if node.streams.is_empty() {
            let leased = self.begin_to_end(ended.node, silent, now);
            if !leased && !self.nodes[ended.node].registered {
                self.departed.push_back((ended.node, now));
            }
        }
        self.update_barriers(ended.node);
        self.remove_departed(now);
        others_must_reconnect
    }

    pub(super) fn must_reconnect(&self, stream: usize) -> bool {
        let entry = self.streams.get(stream);
        entry.is_some_and(|entry| entry.must_reconnect)
    }

    /// Marks the node's streams that began without knowing what the `ended` stream `left`. Their ACKs
    /// do not count. Returns whether there are any.
    fn request_reconnects(
        &mut self,
        node: usize,
        ended: &Stream,
        left: &UnconfirmedByType,
    ) -> bool {
        let mut any = false;
        for open in &self.nodes[node].streams {
            let stream = &mut self.streams[*open];
            if stream.began_without(ended, left) {
                stream.must_reconnect = true;
                stream.synced_to = None;
                any = true;
            }
        }
        any
    }

    /// Enters a stream's status: the changed types, the newest snapshot that it has loaded, and the
    /// sequence to which the client is synced, if that is the newest one.
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
        if !entry.must_reconnect {
            entry.synced_to = synced_to.or(entry.synced_to);
        }
        let node = entry.node;
        for status in changes {
            if let Some(nack) = record::enter(&mut entry.types, status) {
                self.nodes[node].record.add_nack(nack);
            }
        }
        self.update_barriers(node);
    }

    /// Begins a wait for `nodes`, or for those that are registered or have a lease if it is `None`.
    /// Returns its index.
    pub(super) fn begin(
        &mut self,
        mut barrier: Barrier,
        nodes: Option<&BTreeSet<NodeId>>,
    ) -> usize {
        self.end_leases(barrier.began);
        // A sequence that this process has not assigned.
        barrier.sequence = barrier.sequence.filter(|own| *own <= self.cache.newest());
        let indexes: Vec<_> = match nodes {
            Some(ids) => ids
                .iter()
                .map(|id| self.index_of(id, barrier.began))
                .collect(),
            None => {
                let awaited = self.nodes.iter().filter(|(_, node)| node.is_awaited());
                awaited.map(|(index, _)| index).collect()
            }
        };
        for index in indexes {
            let state = node_convergence(&self.nodes[index], &self.streams, barrier.sequence);
            barrier.await_node(index, state);
        }
        barrier.decide();
        self.barriers.insert(barrier)
    }

    pub(super) fn conclude(&self, barrier: usize, now: Instant) -> Convergence {
        let barrier = &self.barriers[barrier];
        let (mut nodes, mut others, mut left) = (Vec::new(), Vec::new(), Vec::new());
        for (index, node) in &self.nodes {
            let mark = barrier.mark_of(index);
            let outcome = match mark {
                Mark::Synced { after_us } => Outcome::Synced {
                    after: Duration::from_micros(after_us.into()),
                },
                Mark::Now(_) | Mark::NotAwaited | Mark::Released => {
                    self.outcome(node, barrier.sequence)
                }
            };
            match mark {
                Mark::Synced { .. } | Mark::Now(_) => nodes.push((node.id.clone(), outcome)),
                Mark::Released => left.push(node.id.clone()),
                Mark::NotAwaited if node.streams.is_empty() => {}
                Mark::NotAwaited => others.push((node.id.clone(), outcome)),
            }
        }
        barrier.conclude(nodes, others, left, now)
    }

    pub(super) fn end(&mut self, barrier: usize, now: Instant) {
        self.barriers.try_remove(barrier);
        self.remove_departed(now);
    }

    /// Every node that is registered or connected, or has a lease, by id.
    pub(super) fn status(&self, wanted: impl Fn(&NodeId) -> bool) -> Vec<NodeStatus> {
        let nodes = self.nodes.iter().map(|(_, node)| node);
        let mut status: Vec<_> = nodes
            .filter(|node| node.is_awaited() || !node.streams.is_empty())
            .filter(|node| wanted(&node.id))
            .map(|node| self.node_status(node))
            .collect();
        status.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        status
    }

    /// The nodes that have a lease which no stream holds, by id.
    pub(super) fn away(&self) -> Vec<NodeStatus> {
        let nodes = self.nodes.iter().map(|(_, node)| node);
        let away = nodes.filter(|node| node.lease.is_some() && node.streams.is_empty());
        let mut status: Vec<_> = away.map(|node| self.node_status(node)).collect();
        status.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        status
    }

    pub(super) fn record(&self, id: &NodeId) -> Option<NodeRecord> {
        let node = &self.nodes[*self.indexes.get(id)?];
        let open = node.streams.iter().map(|stream| &self.streams[*stream]);
        Some(NodeRecord {
            status: self.node_status(node),
            deliveries: node
                .record
                .deliveries_with(open.flat_map(|stream| &stream.types)),
            nacks: node.record.nacks(),
        })
    }

    /// Whether no stream is open and nothing waits.
    #[cfg(test)]
    pub(super) fn is_at_rest(&self) -> bool {
        self.streams.is_empty() && self.barriers.is_empty()
    }

    /// How many nodes of each cohort have a lease.
    #[cfg(test)]
    pub(super) fn cohort_sizes(&self) -> Vec<usize> {
        self.cohorts.values().map(Cohort::size).collect()
    }

    #[cfg(test)]
    pub(super) fn barriers_are_gone(&self) -> bool {
        self.barriers.is_empty()
    }

    /// The index of a node. An unknown node is added as a departed one.
    fn index_of(&mut self, id: &NodeId, now: Instant) -> usize {
        let known = self.indexes.contains_key(id);
        let index = self.get_or_insert(id.clone());
        if !known {
            self.nodes[index].record.gone = Some(now);
            self.departed.push_back((index, now));
        }
        index
    }

    fn get_or_insert(&mut self, id: NodeId) -> usize {
        if let Some(index) = self.indexes.get(&id) {
            return *index;
        }
        let index = self.nodes.insert(Node {
            id: id.clone(),
            registered: false,
            retired: None,
            lease: None,
            streams: SmallVec::new(),
            unconfirmed: None,
            record: Record::default(),
        });
        self.indexes.insert(id, index);
        index
    }

    /// Enters the node's current state in each barrier.
    fn update_barriers(&mut self, index: usize) {
        for (_, barrier) in &mut self.barriers {
            if barrier.is_open_for(index) {
                let node = &self.nodes[index];
                let state = node_convergence(node, &self.streams, barrier.sequence);
                barrier.enter(index, state, Instant::now());
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
                    .find_map(Stream::nack_outcome)
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
            lease: node.lease.as_ref().map(|lease| lease.status),
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

    /// Removes departed nodes, unless something waits: barriers refer to nodes by index.
    pub(super) fn remove_departed(&mut self, now: Instant) {
        while self.barriers.is_empty()
            && let Some((index, gone)) = self.departed.front().copied()
            && (self.departed.len() > MAX_DEPARTED || now >= gone + DEPARTED_KEPT)
        {
            self.departed.pop_front();
            let node = self.nodes.get(index);
            let is_departed = node.is_some_and(|node| {
                !node.is_awaited() && node.streams.is_empty() && node.record.gone == Some(gone)
            });
            if is_departed {
                let node = self.nodes.remove(index);
                self.indexes.remove(&node.id);
            }
        }
    }
}

/// How long the record of an unregistered node is kept after it has disconnected.
const DEPARTED_KEPT: Duration = Duration::from_secs(60 * 60);
/// How many such records are kept. Clients can make up names.
const MAX_DEPARTED: usize = 1024;
