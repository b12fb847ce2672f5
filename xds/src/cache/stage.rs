//! A publish to canaries, before it is published to their whole groups.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, PoisonError},
};

use super::{
    SnapshotCache,
    group_slot::{GroupSlot, Staged},
    group_slots::SlotGuard,
};
use crate::{
    group::Group,
    node::NodeId,
    published::{ComparedSets, PublishedSnapshot},
    sequence::Sequence,
    snapshot::Snapshot,
};

/// Snapshots that only the canaries of their groups have, until they are promoted or withdrawn.
/// Dropping the stage withdraws them. A later publish to one of the groups ends the stage: that
/// publish goes to all nodes.
#[derive(Debug)]
pub(crate) struct Stage<'a> {
    cache: &'a SnapshotCache,
    sequence: Sequence,
    slots: Vec<SlotGuard>,
}

impl SnapshotCache {
    /// Gives `snapshots` to `canaries` only, and withdraws an earlier stage of these groups.
    pub(crate) fn stage(
        &self,
        snapshots: BTreeMap<Group, Snapshot>,
        canaries: Arc<BTreeSet<NodeId>>,
    ) -> Stage<'_> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let staged = snapshots
            .into_iter()
            .map(|(group, snapshot)| (self.slots.get_or_create(&group), snapshot))
            .collect::<Vec<_>>();
        let occupied = staged.iter().map(|(slot, _)| &**slot);
        withdraw(occupied.filter(|slot| slot.staged().is_some()), &mut last);
        let sequence = last.next();
        *last = sequence;
        let mut slots = Vec::with_capacity(staged.len());
        let mut compared = ComparedSets::default();
        for (slot, snapshot) in staged {
            let former = slot.published();
            let published =
                PublishedSnapshot::new(sequence, snapshot, former.as_deref(), &mut compared);
            slot.stage(Staged {
                published: Arc::new(published),
                canaries: Arc::clone(&canaries),
            });
            slots.push(slot);
        }
        self.announce(slots.clone());
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

    /// Publishes what the canaries have to all nodes of the groups. Returns `false` and publishes
    /// nothing if another publish has come to one of the groups.
    pub(crate) fn promote(mut self) -> bool {
        let last = self.cache.last.lock();
        let _last = last.unwrap_or_else(PoisonError::into_inner);
        let staged: Option<Vec<_>> = self.slots.iter().map(|slot| self.staged_in(slot)).collect();
        let Some(staged) = staged else {
            return false;
        };
        let slots = std::mem::take(&mut self.slots);
        for (slot, staged) in slots.iter().zip(staged) {
            slot.publish(Arc::clone(&staged.published));
        }
        self.cache.announce(slots);
        true
    }

    /// Gives the canaries the former content back. Returns the sequence of that content.
    pub(crate) fn withdraw(mut self) -> Sequence {
        self.end()
    }

    fn end(&mut self) -> Sequence {
        let mut slots = std::mem::take(&mut self.slots);
        let last = self.cache.last.lock();
        let mut last = last.unwrap_or_else(PoisonError::into_inner);
        slots.retain(|slot| self.staged_in(slot).is_some());
        withdraw(slots.iter().map(|slot| &**slot), &mut last);
        self.cache.announce(slots);
        *last
    }

    /// The snapshot that this stage put into `slot`; `None` if another one has replaced it.
    fn staged_in(&self, slot: &GroupSlot) -> Option<Arc<Staged>> {
        let staged = slot.staged();
        staged.filter(|staged| staged.published.sequence == self.sequence)
    }
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        self.end();
    }
}

/// Gives the canaries the former content back, under a new sequence: nonces and waits for
/// convergence take effect only for a newer sequence. Where a group had no content, its canaries
/// get an empty snapshot.
fn withdraw<'a>(slots: impl Iterator<Item = &'a GroupSlot>, last: &mut Sequence) {
    let sequence = last.next();
    for slot in slots {
        if let Some(former) = slot.published() {
            slot.publish(Arc::new(former.republished(sequence)));
        } else if let Some(emptied) = slot.staged().and_then(|staged| staged.emptied(sequence)) {
            slot.stage(emptied);
        } else {
            slot.clear();
        }
        *last = sequence;
    }
}

impl Staged {
    /// An empty snapshot for the canaries; `None` if there are no canaries.
    fn emptied(&self, sequence: Sequence) -> Option<Self> {
        if self.canaries.is_empty() {
            return None;
        }
        let (empty, former) = (Snapshot::default(), Some(&*self.published));
        let empty = PublishedSnapshot::new(sequence, empty, former, &mut ComparedSets::default());
        Some(Self {
            published: Arc::new(empty),
            canaries: Arc::clone(&self.canaries),
        })
    }
}
