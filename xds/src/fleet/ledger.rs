//! One entry per open stream, and the barriers that wait for them. An acknowledgement costs
//! one look-up and one comparison per barrier, whatever the size of the fleet.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use tokio::time::Instant;

use super::{
    convergence::{Barrier, Convergence, Outcome},
    status::NodeStatus,
};
use crate::{
    cache::{Group, Sequence, SnapshotCache},
    node::{NodeDescription, NodeId},
    resource::ResourceType,
    stream::{Machine, TypeState, TypeStatus},
};

#[derive(Debug)]
pub(super) struct Ledger {
    cache: Arc<SnapshotCache>,
    registered: BTreeSet<NodeId>,
    /// Connected nodes. The newest stream comes last, and no list is empty.
    nodes: HashMap<NodeId, Vec<Entry>>,
    barriers: HashMap<u64, Barrier>,
    last_id: u64,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct StreamId(u64);

#[derive(Debug)]
pub(super) struct Entry {
    stream: StreamId,
    description: NodeDescription,
    group: Group,
    since: Instant,
    /// The newest snapshot that the stream knows of.
    newest: Option<Sequence>,
    synced_to: Option<Sequence>,
    types: [Option<TypeStatus>; ResourceType::ALL.len()],
}

impl Ledger {
    pub(super) fn new(cache: Arc<SnapshotCache>) -> Self {
        Self {
            cache,
            registered: BTreeSet::new(),
            nodes: HashMap::new(),
            barriers: HashMap::new(),
            last_id: 0,
        }
    }

    pub(super) fn set_registered(&mut self, nodes: BTreeSet<NodeId>) {
        self.registered = nodes;
    }

    pub(super) fn connect(
        &mut self,
        description: NodeDescription,
        group: Group,
        now: Instant,
    ) -> StreamId {
        let stream = StreamId(self.next_id());
        let node = description.id.clone();
        self.nodes.entry(node.clone()).or_default().push(Entry {
            stream,
            description,
            group,
            since: now,
            newest: None,
            synced_to: None,
            types: Default::default(),
        });
        self.assess(&node, now);
        stream
    }

    pub(super) fn disconnect(&mut self, node: &NodeId, stream: StreamId) {
        if let Some(entries) = self.nodes.get_mut(node) {
            entries.retain(|entry| entry.stream != stream);
            if entries.is_empty() {
                self.nodes.remove(node);
            }
        }
        self.assess(node, Instant::now());
    }

    pub(super) fn report(&mut self, node: &NodeId, stream: StreamId, machine: &mut Machine) {
        let entries = self.nodes.get_mut(node).into_iter().flatten();
        let Some(entry) = entries.into_iter().find(|entry| entry.stream == stream) else {
            return;
        };
        entry.newest = machine.newest();
        entry.synced_to = machine.synced_to().or(entry.synced_to);
        for status in machine.changes() {
            let at = status.kind.index();
            entry.types[at] = Some(status);
        }
        self.assess(node, Instant::now());
    }

    pub(super) fn begin(&mut self, mut barrier: Barrier) -> u64 {
        for node in &self.registered {
            let outcome = self.outcome(node, &barrier, barrier.began());
            barrier.enter(node.clone(), outcome);
        }
        barrier.decide();
        let id = self.next_id();
        self.barriers.insert(id, barrier);
        id
    }

    pub(super) fn conclude(&self, id: u64, now: Instant) -> Convergence {
        let barrier = &self.barriers[&id];
        let others = self
            .nodes
            .keys()
            .filter(|node| !barrier.awaits(node))
            .map(|node| (node.clone(), self.outcome(node, barrier, now)));
        barrier.conclude(others, now)
    }

    pub(super) fn forget(&mut self, id: u64) {
        self.barriers.remove(&id);
    }

    pub(super) fn status(&self) -> Vec<NodeStatus> {
        let connected = self.nodes.keys();
        let all: BTreeSet<_> = self.registered.iter().chain(connected).collect();
        all.into_iter().map(|node| self.node_status(node)).collect()
    }

    /// Nobody is connected and nobody waits.
    #[cfg(test)]
    pub(super) fn is_at_rest(&self) -> bool {
        self.nodes.is_empty() && self.barriers.is_empty()
    }

    /// Tells each barrier where the node stands now.
    fn assess(&mut self, node: &NodeId, now: Instant) {
        // Taken out, since an outcome is worked out from the rest of the ledger.
        let mut barriers = std::mem::take(&mut self.barriers);
        for barrier in barriers.values_mut() {
            if barrier.awaits(node) {
                let outcome = self.outcome(node, barrier, now);
                barrier.enter(node.clone(), outcome);
                barrier.decide();
            }
        }
        self.barriers = barriers;
    }

    fn outcome(&self, node: &NodeId, barrier: &Barrier, now: Instant) -> Outcome {
        let Some(entries) = self.nodes.get(node) else {
            return Outcome::Absent;
        };
        let after = now.saturating_duration_since(barrier.began());
        let mut outcome = Outcome::Synced { after };
        for entry in entries {
            let required = self.required(&entry.group, barrier.sequence());
            if entry.synced_to >= Some(required) {
                continue;
            }
            outcome = Outcome::Lagging;
            if entry.newest >= Some(required)
                && let Some(refusal) = entry.refusal()
            {
                return refusal;
            }
        }
        outcome
    }

    /// What a node of `group` must have to have the content that was current at `sequence`:
    /// a group that later publishes left alone stands at an older one.
    fn required(&self, group: &Group, sequence: Sequence) -> Sequence {
        self.cache
            .sequence(group)
            .map_or(sequence, |newest| newest.min(sequence))
    }

    fn node_status(&self, node: &NodeId) -> NodeStatus {
        let entries = self.nodes.get(node).map_or(&[][..], Vec::as_slice);
        let newest = entries.last();
        let synced = |entry: &Entry| {
            let newest = self.cache.sequence(&entry.group);
            newest.is_some() && entry.synced_to >= newest
        };
        NodeStatus {
            id: node.clone(),
            registered: self.registered.contains(node),
            streams: entries.len(),
            group: newest.map(|entry| entry.group.clone()),
            description: newest.map(|entry| entry.description.clone()),
            connected_since: newest.map(|entry| entry.since),
            types: newest
                .map(|entry| entry.types.iter().flatten().cloned().collect())
                .unwrap_or_default(),
            synced_to: entries.iter().map(|entry| entry.synced_to).min().flatten(),
            synced: !entries.is_empty() && entries.iter().all(synced),
        }
    }

    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }
}

impl Entry {
    fn refusal(&self) -> Option<Outcome> {
        self.types
            .iter()
            .flatten()
            .find_map(|status| match &status.state {
                TypeState::Nacked { words, resources } => Some(Outcome::Nacked {
                    kind: status.kind,
                    resources: resources.clone(),
                    words: Arc::clone(words),
                }),
                TypeState::NotSent | TypeState::Stale | TypeState::Synced => None,
            })
    }
}
