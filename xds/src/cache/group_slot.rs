//! Where each group's snapshot stands: for as long as there is one, or somebody looks for one.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Deref,
    sync::{
        Arc, PoisonError, RwLock, RwLockWriteGuard,
        atomic::{AtomicBool, AtomicU64},
    },
};

use arc_swap::ArcSwapOption;

use super::{Group, Published, stage::Staged};
use crate::{broadcast_waker::BroadcastWaker, node::NodeId};

/// One group's place. Who is woken compares the number of changes and takes the content: a
/// slow reader finds the newest, never a backlog.
#[derive(Debug, Default)]
pub(super) struct GroupSlot {
    pub(super) published: ArcSwapOption<Published>,
    /// What some of the group's nodes have instead.
    pub(super) staged: ArcSwapOption<Staged>,
    /// Nodes whose streams end, if they began before that change.
    pub(super) dismissed: ArcSwapOption<BTreeMap<NodeId, u64>>,
    pub(super) changes: AtomicU64,
    pub(super) waker: BroadcastWaker,
    /// Whether the waker is about to wake its streams.
    pub(super) due: AtomicBool,
}

impl GroupSlot {
    /// What `node` of the group must have.
    pub(super) fn of(&self, node: &NodeId) -> Option<Arc<Published>> {
        if let Some(staged) = &*self.staged.load()
            && staged.nodes.contains(node)
        {
            return Some(Arc::clone(&staged.published));
        }
        self.published.load_full()
    }

    fn is_empty(&self) -> bool {
        self.published.load().is_none() && self.staged.load().is_none()
    }
}

#[derive(Debug, Default)]
pub(super) struct GroupSlots(RwLock<HashMap<Group, Arc<GroupSlot>>>);

impl GroupSlots {
    pub(super) fn get(self: &Arc<Self>, group: &Group) -> Option<SlotGuard> {
        let slots = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let slot = slots.get(group)?;
        Some(self.guard(group, slot))
    }

    /// The group's slot, which is put up if there is none.
    pub(super) fn get_or_create(self: &Arc<Self>, group: &Group) -> SlotGuard {
        self.get(group).unwrap_or_else(|| {
            let mut slots = self.write();
            self.guard(group, slots.entry(group.clone()).or_default())
        })
    }

    /// To be called before the map is unlocked, or the slot could be freed in between.
    fn guard(self: &Arc<Self>, group: &Group, slot: &Arc<GroupSlot>) -> SlotGuard {
        SlotGuard {
            slot: Arc::clone(slot),
            _free: FreeOnDrop {
                slots: Arc::clone(self),
                group: group.clone(),
            },
        }
    }

    /// Takes the group's slot away if nothing is on it and nobody holds it.
    fn free(&self, group: &Group) {
        let mut slots = self.write();
        let alone = slots.get_mut(group).and_then(Arc::get_mut);
        if alone.is_some_and(|slot| slot.is_empty()) {
            slots.remove(group);
        }
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<Group, Arc<GroupSlot>>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.write().len()
    }
}

/// Keeps a group's slot where it is. The last one to go takes an empty slot away.
#[derive(Clone, Debug)]
pub(super) struct SlotGuard {
    /// Dropped before the end, which looks whether anybody else has it.
    slot: Arc<GroupSlot>,
    _free: FreeOnDrop,
}

impl Deref for SlotGuard {
    type Target = GroupSlot;

    fn deref(&self) -> &GroupSlot {
        &self.slot
    }
}

#[derive(Clone, Debug)]
struct FreeOnDrop {
    slots: Arc<GroupSlots>,
    group: Group,
}

impl Drop for FreeOnDrop {
    fn drop(&mut self) {
        self.slots.free(&self.group);
    }
}
