mod group_slot;
mod published;
mod stage;

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    task::{Context, Poll},
};

use tokio::sync::Notify;

pub(crate) use self::published::Published;
pub(crate) use self::stage::Stage;
use self::{
    group_slot::{GroupSlots, SlotGuard},
    published::Compared,
};
use crate::{broadcast_waker::WakerRegistration, node::NodeId, snapshot::Snapshot};

/// The nodes that share one snapshot.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Group(Arc<str>);

impl Group {
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self(name.into())
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The number of a publish, over the whole cache; it grows with each, and with each trial of
/// canaries and its end. It lives as long as the process: content keeps its version over a
/// restart, a sequence does not.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Sequence(u64);

impl Sequence {
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl From<u64> for Sequence {
    /// For a number that was taken from [`Sequence::get`] and kept, in this process. Nobody
    /// ever has the content of one that this process has not given out.
    fn from(number: u64) -> Self {
        Self(number)
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// What every group must have now. Readers never wait for a publish, a publish never waits
/// for a stream.
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
    /// The last sequence given out; held while a publish or a removal is under way.
    last: Mutex<Sequence>,
    /// Places whose streams are to be woken.
    due: Mutex<VecDeque<SlotGuard>>,
    wakes_due: Notify,
}

impl SnapshotCache {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes these the snapshots of their groups, all under one sequence, and has the server
    /// wake their streams: the call takes as long for ten thousand as for one. Groups not
    /// named keep theirs. A snapshot whose resources have the versions that the nodes
    /// acknowledged already replaces the older bodies and sends nothing.
    ///
    /// What canaries of these groups were trying is taken away from them: this is newer.
    pub fn publish(&self, snapshots: BTreeMap<Group, Snapshot>) -> Sequence {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let sequence = Sequence(last.0 + 1);
        let mut changed = Vec::with_capacity(snapshots.len());
        let mut compared = Compared::default();
        for (group, snapshot) in snapshots {
            let slot = self.slots.get_or_create(&group);
            let former = slot.published.load();
            let published = Published::new(sequence, snapshot, former.as_deref(), &mut compared);
            slot.published.store(Some(Arc::new(published)));
            slot.staged.store(None);
            changed.push(slot);
        }
        *last = sequence;
        self.wake(changed);
        sequence
    }

    /// What the nodes of the group must have, canaries that try something else apart.
    #[must_use]
    pub fn snapshot(&self, group: &Group) -> Option<Snapshot> {
        let slot = self.slots.get(group)?;
        let published = slot.published.load();
        published.as_ref().map(|found| found.snapshot.clone())
    }

    /// What this node of the group must have.
    #[must_use]
    pub fn snapshot_of(&self, group: &Group, node: &NodeId) -> Option<Snapshot> {
        let slot = self.slots.get(group)?;
        slot.of(node).map(|found| found.snapshot.clone())
    }

    /// The last sequence that was given out, 0 before the first.
    #[must_use]
    pub fn newest(&self) -> Sequence {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets a group, and what canaries of it were trying. Its open streams keep what they
    /// have and are told nothing more, until the group is published again.
    pub fn remove(&self, group: &Group) {
        let _last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = self.slots.get(group) {
            slot.published.store(None);
            slot.staged.store(None);
        }
    }

    /// Ends the streams that `node` has in `group` now, with UNAVAILABLE: it comes again and is
    /// admitted anew. For a node that may no longer have what its group has, and for
    /// one that refused something for a reason that has passed: it gets that again.
    pub fn dismiss(&self, group: &Group, node: &NodeId) {
        let Some(slot) = self.slots.get(group) else {
            return;
        };
        let before = slot.changes.load(Ordering::Acquire) + 1;
        slot.dismissed.rcu(|dismissed| {
            let mut dismissed = dismissed.as_deref().cloned().unwrap_or_default();
            dismissed.insert(node.clone(), before);
            Some(Arc::new(dismissed))
        });
        self.wake(vec![slot]);
    }

    /// Where the group's newest snapshot stands, found once for many looks.
    pub(crate) fn place(&self, group: &Group) -> Place {
        Place(self.slots.get_or_create(group))
    }

    /// Follows a group on behalf of one of its nodes, whether it has a snapshot yet or not.
    pub(crate) fn subscribe(&self, group: &Group, node: &NodeId) -> Watch {
        let slot = self.slots.get_or_create(group);
        Watch {
            registration: WakerRegistration::new(slot.waker.clone()),
            born: slot.changes.load(Ordering::Acquire),
            slot,
            seen: 0,
            node: node.clone(),
        }
    }

    /// Wakes the streams of what was published, for as long as it is polled. Without it no
    /// stream learns of anything.
    pub(crate) async fn distribute(&self) {
        loop {
            self.wakes_due.notified().await;
            while let Some(slot) = self.next_due() {
                PendingWake::new(self, slot).finish().await;
            }
        }
    }

    /// To be called when each of the slots has its new content, so that whoever sees a
    /// sequence in one group finds it in the others.
    fn wake(&self, slots: Vec<SlotGuard>) {
        for slot in &slots {
            slot.changes.fetch_add(1, Ordering::Release);
        }
        self.make_due(slots);
    }

    fn make_due(&self, mut slots: Vec<SlotGuard>) {
        // One that is still due from an earlier publish is there once for both.
        slots.retain(|slot| !slot.due.swap(true, Ordering::AcqRel));
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        due.extend(slots);
        self.wakes_due.notify_one();
    }

    fn next_due(&self) -> Option<SlotGuard> {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        due.pop_front()
    }
}

/// A slot whose streams are being woken; broken off, it is due again.
#[derive(Debug)]
struct PendingWake<'a> {
    cache: &'a SnapshotCache,
    slot: Option<SlotGuard>,
}

impl<'a> PendingWake<'a> {
    fn new(cache: &'a SnapshotCache, slot: SlotGuard) -> Self {
        // First, so that a publish from here on is due again.
        slot.due.swap(false, Ordering::AcqRel);
        Self {
            cache,
            slot: Some(slot),
        }
    }

    async fn finish(mut self) {
        if let Some(slot) = &self.slot {
            slot.waker.wake_all().await;
        }
        self.slot = None;
    }
}

impl Drop for PendingWake<'_> {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            self.cache.make_due(vec![slot]);
        }
    }
}

/// See [`SnapshotCache::place`].
#[derive(Debug)]
pub(crate) struct Place(SlotGuard);

impl Place {
    /// The sequence of the snapshot that `node` of the group must have, which is older than
    /// the cache's last one when later publishes did not name the group.
    pub(crate) fn sequence(&self, node: &NodeId) -> Option<Sequence> {
        if let Some(staged) = &*self.0.staged.load()
            && staged.nodes.contains(node)
        {
            return Some(staged.published.sequence);
        }
        let published = self.0.published.load();
        published.as_ref().map(|found| found.sequence)
    }
}

/// A stream's view of its group.
#[derive(Debug)]
pub(crate) struct Watch {
    slot: SlotGuard,
    registration: WakerRegistration,
    /// Changes before it began.
    born: u64,
    /// Changes that were seen.
    seen: u64,
    node: NodeId,
}

impl Watch {
    /// The newest snapshot; [`Watch::poll_changed`] tells what is published after this call.
    pub(crate) fn newest(&mut self) -> Option<Arc<Published>> {
        self.seen = self.slot.changes.load(Ordering::Acquire);
        self.slot.of(&self.node)
    }

    /// The newest snapshot, which may still be told as a change.
    pub(crate) fn current(&self) -> Option<Arc<Published>> {
        self.slot.of(&self.node)
    }

    /// Whether the stream must end; [`Watch::poll_changed`] tells of that, too.
    pub(crate) fn is_dismissed(&self) -> bool {
        let dismissed = self.slot.dismissed.load();
        let before = dismissed.as_ref().and_then(|nodes| nodes.get(&self.node));
        before.is_some_and(|before| self.born < *before)
    }

    /// Ready when something was published since [`Watch::newest`] was asked.
    pub(crate) fn poll_changed(&mut self, cx: &Context<'_>) -> Poll<()> {
        self.registration.register(cx.waker());
        if self.slot.changes.load(Ordering::Acquire) == self.seen {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    }
}

#[cfg(test)]
mod tests;
