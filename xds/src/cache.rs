mod group_slot;
mod group_slots;
mod stage;
mod subscription;
mod wake_queue;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use self::{
    group_slots::{GroupSlots, SlotGuard},
    wake_queue::WakeQueue,
};
pub(crate) use self::{
    stage::Stage,
    subscription::{GroupSubscription, RequiredSequence},
};
use crate::{
    group::Group,
    node::NodeId,
    published::{ComparedSets, PublishedSnapshot},
    sequence::Sequence,
    snapshot::Snapshot,
};

/// The current snapshot of every group. Readers never wait for a publish, and a publish never
/// waits for a stream.
///
/// ```
/// use pointsman_xds::{Group, Resource, ResourceType, Snapshot, SnapshotCache};
///
/// let cache = SnapshotCache::new();
/// let edge = Group::new("edge");
/// let layer = Resource::new(ResourceType::Runtime, "layer", b"\x0a\x05layer"[..].into());
/// let first = cache.publish([(edge.clone(), Snapshot::builder().insert(layer).build()?)].into());
/// let second = cache.publish([(edge.clone(), Snapshot::builder().build()?)].into());
/// assert!(first < second);
/// assert!(cache.snapshot(&edge).unwrap().set(ResourceType::Runtime).is_empty());
/// # Ok::<(), pointsman_xds::SnapshotError>(())
/// ```
#[derive(Debug, Default)]
pub struct SnapshotCache {
    slots: Arc<GroupSlots>,
    /// The last sequence that was assigned. Locked during a publish or a removal.
    last: Mutex<Sequence>,
    wake_queue: WakeQueue,
}

impl SnapshotCache {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces the snapshots of these groups, all under one sequence. Other groups keep theirs.
    /// The server wakes the streams afterwards, so the duration of the call does not depend on
    /// their number.
    ///
    /// If all resources have the versions that the nodes have acknowledged, nothing is sent; the
    /// new bodies replace the old ones.
    ///
    /// A publish ends the canary trials of its groups.
    pub fn publish(&self, snapshots: BTreeMap<Group, Snapshot>) -> Sequence {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let sequence = last.next();
        let mut changed = Vec::with_capacity(snapshots.len());
        let mut compared = ComparedSets::default();
        for (group, snapshot) in snapshots {
            let slot = self.slots.get_or_create(&group);
            let former = slot.published();
            let published =
                PublishedSnapshot::new(sequence, snapshot, former.as_deref(), &mut compared);
            slot.publish(Arc::new(published));
            changed.push(slot);
        }
        *last = sequence;
        self.announce(changed);
        sequence
    }

    /// The group's snapshot. Canaries may have another one during a trial.
    #[must_use]
    pub fn snapshot(&self, group: &Group) -> Option<Snapshot> {
        let published = self.slots.get(group)?.published()?;
        Some(published.snapshot.clone())
    }

    /// The snapshot that this node of the group must have.
    #[must_use]
    pub fn snapshot_of(&self, group: &Group, node: &NodeId) -> Option<Snapshot> {
        let published = self.slots.get(group)?.required(node)?;
        Some(published.snapshot.clone())
    }

    /// The last sequence that was assigned; 0 before the first.
    #[must_use]
    pub fn newest(&self) -> Sequence {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes a group's snapshot and ends its canary trial. Open streams of the group keep their
    /// resources and receive nothing until the group is published again.
    pub fn remove(&self, group: &Group) {
        let _last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = self.slots.get(group) {
            slot.clear();
        }
    }

    /// Ends the open streams of `node` in `group` with UNAVAILABLE. The node reconnects and is
    /// admitted again. Use it when the node may no longer have the group's resources, or when it
    /// has NACKed content for a reason that has passed: the new stream is sent that content again.
    pub fn dismiss(&self, group: &Group, node: &NodeId) {
        if let Some(slot) = self.slots.get(group) {
            slot.dismiss(node);
            self.announce(vec![slot]);
        }
    }

    pub(crate) fn required_sequence(&self, group: &Group) -> RequiredSequence {
        RequiredSequence::new(self.slots.get_or_create(group))
    }

    /// Subscribes a stream of `node` to its group. The group need not have a snapshot yet.
    pub(crate) fn subscribe(&self, group: &Group, node: &NodeId) -> GroupSubscription {
        GroupSubscription::new(self.slots.get_or_create(group), node.clone())
    }

    /// Wakes the streams of changed groups, for as long as it is polled. Streams learn of no
    /// change without it.
    pub(crate) async fn wake_streams(&self) {
        self.wake_queue.run().await;
    }

    /// Lets the streams of changed groups know. Must be called after all slots have their new
    /// content: a stream that sees a sequence in one group then finds it in the others.
    fn announce(&self, slots: Vec<SlotGuard>) {
        for slot in &slots {
            slot.count_change();
        }
        self.wake_queue.add(slots);
    }
}

#[cfg(test)]
mod tests;
