//! A publish that some nodes try before all get it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, PoisonError},
};

use super::{
    Group, Published, Sequence, SnapshotCache,
    group_slot::{GroupSlot, SlotGuard},
    published::Compared,
};
use crate::{node::NodeId, snapshot::Snapshot};

/// What some nodes of a group have instead of the group's snapshot.
#[derive(Debug)]
pub(super) struct Staged {
    pub(super) published: Arc<Published>,
    pub(super) nodes: Arc<BTreeSet<NodeId>>,
}

impl Staged {
    /// What takes it away again from those who have it, if anybody has.
    fn emptied(&self, sequence: Sequence) -> Option<Arc<Self>> {
        let former = Some(&*self.published);
        let nothing = Snapshot::default();
        let nothing = Published::new(sequence, nothing, former, &mut Compared::default());
        (!self.nodes.is_empty()).then(|| {
            Arc::new(Self {
                published: Arc::new(nothing),
                nodes: Arc::clone(&self.nodes),
            })
        })
    }
}

/// Snapshots that some nodes have and the others of their groups do not, until they are
/// promoted or withdrawn; dropping the stage withdraws them. A publish to one of the groups
/// ends it too: what is published is for everybody.
#[derive(Debug)]
pub(crate) struct Stage<'a> {
    cache: &'a SnapshotCache,
    sequence: Sequence,
    slots: Vec<SlotGuard>,
}

impl SnapshotCache {
    /// Gives `snapshots` to the named nodes of their groups alone. What is staged there already
    /// is withdrawn.
    pub(crate) fn stage(
        &self,
        snapshots: BTreeMap<Group, Snapshot>,
        nodes: Arc<BTreeSet<NodeId>>,
    ) -> Stage<'_> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let staged = snapshots
            .into_iter()
            .map(|(group, snapshot)| (self.slots.get_or_create(&group), snapshot))
            .collect::<Vec<_>>();
        let others = staged.iter().map(|(slot, _)| &**slot);
        withdraw(
            others.filter(|slot| slot.staged.load().is_some()),
            &mut last,
        );
        *last = Sequence(last.0 + 1);
        let sequence = *last;
        let mut slots = Vec::with_capacity(staged.len());
        let mut compared = Compared::default();
        for (slot, snapshot) in staged {
            let former = slot.published.load();
            let published = Published::new(sequence, snapshot, former.as_deref(), &mut compared);
            slot.staged.store(Some(Arc::new(Staged {
                published: Arc::new(published),
                nodes: Arc::clone(&nodes),
            })));
            slots.push(slot);
        }
        self.wake(slots.clone());
        Stage {
            cache: self,
            sequence,
            slots,
        }
    }
}

impl Stage<'_> {
    pub(crate) fn sequence(&self) -> Sequence {
        self.sequence
    }

    /// Publishes to everybody what the canaries have: all of it, or nothing, if another publish
    /// has come to one of the groups.
    pub(crate) fn promote(mut self) -> bool {
        let last = self.cache.last.lock();
        let _last = last.unwrap_or_else(PoisonError::into_inner);
        let staged: Option<Vec<_>> = self.slots.iter().map(|slot| self.own(slot)).collect();
        let Some(staged) = staged else {
            return false;
        };
        let slots = std::mem::take(&mut self.slots);
        for (slot, staged) in slots.iter().zip(staged) {
            slot.published.store(Some(Arc::clone(&staged.published)));
            slot.staged.store(None);
        }
        self.cache.wake(slots);
        true
    }

    /// Gives the canaries the former content back; returns the sequence that this is under.
    pub(crate) fn withdraw(mut self) -> Sequence {
        self.end()
    }

    fn end(&mut self) -> Sequence {
        let mut slots = std::mem::take(&mut self.slots);
        let last = self.cache.last.lock();
        let mut last = last.unwrap_or_else(PoisonError::into_inner);
        slots.retain(|slot| self.own(slot).is_some());
        withdraw(slots.iter().map(|slot| &**slot), &mut last);
        self.cache.wake(slots);
        *last
    }

    /// What is staged there, if it is still this stage's.
    fn own(&self, slot: &GroupSlot) -> Option<Arc<Staged>> {
        let staged = slot.staged.load_full();
        staged.filter(|staged| staged.published.sequence == self.sequence)
    }
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        self.end();
    }
}

/// The canaries get the former content back, under a new sequence: of a response's nonce and of
/// everything that waits, only what is newer counts. Where there was none they get an empty one.
fn withdraw<'a>(slots: impl Iterator<Item = &'a GroupSlot>, last: &mut Sequence) {
    let sequence = Sequence(last.0 + 1);
    for slot in slots {
        let staged = match slot.published.load_full() {
            Some(former) => {
                let again = Arc::new(former.again(sequence));
                slot.published.store(Some(again));
                None
            }
            None => {
                let tried = slot.staged.load_full();
                tried.and_then(|tried| tried.emptied(sequence))
            }
        };
        slot.staged.store(staged);
        *last = sequence;
    }
}
