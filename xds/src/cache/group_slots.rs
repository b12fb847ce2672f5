use std::{
    collections::HashMap,
    ops::Deref,
    sync::{Arc, PoisonError, RwLock, RwLockWriteGuard},
};

use super::group_slot::GroupSlot;
use crate::group::Group;

/// The slots of all groups. A slot is freed when it is empty and unreferenced.
#[derive(Debug, Default)]
pub(super) struct GroupSlots(RwLock<HashMap<Group, Arc<GroupSlot>>>);

impl GroupSlots {
    pub(super) fn get(self: &Arc<Self>, group: &Group) -> Option<SlotGuard> {
        let slots = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let slot = slots.get(group)?;
        Some(self.guard(group, slot))
    }

    pub(super) fn get_or_create(self: &Arc<Self>, group: &Group) -> SlotGuard {
        self.get(group).unwrap_or_else(|| {
            let mut slots = self.write();
            self.guard(group, slots.entry(group.clone()).or_default())
        })
    }

    /// Must be called while the map is locked: otherwise the slot could be freed in between.
    fn guard(self: &Arc<Self>, group: &Group, slot: &Arc<GroupSlot>) -> SlotGuard {
        SlotGuard {
            slot: Arc::clone(slot),
            _free: FreeOnDrop {
                slots: Arc::clone(self),
                group: group.clone(),
            },
        }
    }

    /// Frees the group's slot if it is empty and unreferenced.
    fn free(&self, group: &Group) {
        let mut slots = self.write();
        let unreferenced = slots.get_mut(group).and_then(Arc::get_mut);
        if unreferenced.is_some_and(|slot| slot.is_empty()) {
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

/// A reference to a group's slot. Dropping the last one frees an empty slot.
#[derive(Clone, Debug)]
pub(super) struct SlotGuard {
    /// Declared before `_free`, so that it is dropped first.
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
