use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwapOption;

use crate::{
    broadcast_waker::{BroadcastWaker, WakerRegistration},
    node::NodeId,
    published::PublishedSnapshot,
    sequence::Sequence,
};

/// The state of one group: its snapshot, and the streams to wake when that changes.
///
/// Each change increases a counter. A stream compares the counter with what it saw last and then
/// loads the current content, so a slow stream skips to the newest content.
#[derive(Debug, Default)]
pub(super) struct GroupSlot {
    published: ArcSwapOption<PublishedSnapshot>,
    staged: ArcSwapOption<Staged>,
    /// Streams of these nodes end if they subscribed before the given change.
    dismissed: ArcSwapOption<BTreeMap<NodeId, u64>>,
    changes: AtomicU64,
    streams: BroadcastWaker,
    /// Whether the slot is in the queue of those whose streams are to be woken.
    is_queued: AtomicBool,
}

/// What canaries of the group have instead of its snapshot.
#[derive(Debug)]
pub(super) struct Staged {
    pub(super) published: Arc<PublishedSnapshot>,
    pub(super) canaries: Arc<BTreeSet<NodeId>>,
}

impl GroupSlot {
    /// Replaces the group's snapshot and ends what is staged.
    pub(super) fn publish(&self, published: Arc<PublishedSnapshot>) {
        self.published.store(Some(published));
        self.staged.store(None);
    }

    pub(super) fn stage(&self, staged: Staged) {
        self.staged.store(Some(Arc::new(staged)));
    }

    /// Removes the snapshot and what is staged.
    pub(super) fn clear(&self) {
        self.published.store(None);
        self.staged.store(None);
    }

    /// Ends the streams that `node` has now.
    pub(super) fn dismiss(&self, node: &NodeId) {
        let before = self.changes() + 1;
        self.dismissed.rcu(|dismissed| {
            let mut dismissed = dismissed.as_deref().cloned().unwrap_or_default();
            dismissed.insert(node.clone(), before);
            Some(Arc::new(dismissed))
        });
    }

    /// The group's snapshot, without what is staged.
    pub(super) fn published(&self) -> Option<Arc<PublishedSnapshot>> {
        self.published.load_full()
    }

    pub(super) fn staged(&self) -> Option<Arc<Staged>> {
        self.staged.load_full()
    }

    /// The snapshot that `node` must have.
    pub(super) fn required(&self, node: &NodeId) -> Option<Arc<PublishedSnapshot>> {
        if let Some(staged) = &*self.staged.load()
            && staged.canaries.contains(node)
        {
            return Some(Arc::clone(&staged.published));
        }
        self.published()
    }

    /// The sequence of the snapshot that `node` must have.
    pub(super) fn required_sequence(&self, node: &NodeId) -> Option<Sequence> {
        if let Some(staged) = &*self.staged.load()
            && staged.canaries.contains(node)
        {
            return Some(staged.published.sequence);
        }
        let published = self.published.load();
        published.as_ref().map(|published| published.sequence)
    }

    /// Whether a stream of `node` that subscribed at the change `subscribed_at` must end.
    pub(super) fn is_dismissed(&self, node: &NodeId, subscribed_at: u64) -> bool {
        let dismissed = self.dismissed.load();
        let before = dismissed.as_ref().and_then(|nodes| nodes.get(node));
        before.is_some_and(|before| subscribed_at < *before)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.published.load().is_none() && self.staged.load().is_none()
    }

    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    pub(super) fn count_change(&self) {
        self.changes.fetch_add(1, Ordering::Release);
    }

    pub(super) fn registration(&self) -> WakerRegistration {
        WakerRegistration::new(self.streams.clone())
    }

    pub(super) async fn wake_streams(&self) {
        self.streams.wake_all().await;
    }

    /// Returns whether the slot was in the queue before.
    pub(super) fn set_queued(&self, queued: bool) -> bool {
        self.is_queued.swap(queued, Ordering::AcqRel)
    }
}
