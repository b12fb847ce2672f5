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
use crate::{bell::Bell, node::NodeId};

/// One group's place. Who is woken compares the number of changes and takes the content: a
/// slow reader finds the newest, never a backlog.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    pub(super) published: ArcSwapOption<Published>,
    /// What some of the group's nodes have instead.
    pub(super) staged: ArcSwapOption<Staged>,
    /// Nodes whose streams end, if they began before that change.
    pub(super) dismissed: ArcSwapOption<BTreeMap<NodeId, u64>>,
    pub(super) changes: AtomicU64,
    pub(super) bell: Bell,
    /// Whether the bell is about to be rung.
    pub(super) due: AtomicBool,
}

impl Shelf {
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
pub(super) struct Shelves(RwLock<HashMap<Group, Arc<Shelf>>>);

impl Shelves {
    pub(super) fn existing(self: &Arc<Self>, group: &Group) -> Option<Hold> {
        let shelves = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let shelf = shelves.get(group)?;
        Some(self.hold(group, shelf))
    }

    /// The group's shelf, which is put up if there is none.
    pub(super) fn shelf(self: &Arc<Self>, group: &Group) -> Hold {
        self.existing(group).unwrap_or_else(|| {
            let mut shelves = self.write();
            self.hold(group, shelves.entry(group.clone()).or_default())
        })
    }

    /// To be called before the map is unlocked, or the shelf could be freed in between.
    fn hold(self: &Arc<Self>, group: &Group, shelf: &Arc<Shelf>) -> Hold {
        Hold {
            shelf: Arc::clone(shelf),
            _end: End {
                shelves: Arc::clone(self),
                group: group.clone(),
            },
        }
    }

    /// Takes the group's shelf away if nothing is on it and nobody holds it.
    fn free(&self, group: &Group) {
        let mut shelves = self.write();
        let alone = shelves.get_mut(group).and_then(Arc::get_mut);
        if alone.is_some_and(|shelf| shelf.is_empty()) {
            shelves.remove(group);
        }
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<Group, Arc<Shelf>>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn places(&self) -> usize {
        self.write().len()
    }
}

/// Keeps a group's shelf where it is. The last one to go takes an empty shelf away.
#[derive(Clone, Debug)]
pub(super) struct Hold {
    /// Dropped before the end, which looks whether anybody else has it.
    shelf: Arc<Shelf>,
    _end: End,
}

impl Deref for Hold {
    type Target = Shelf;

    fn deref(&self) -> &Shelf {
        &self.shelf
    }
}

#[derive(Clone, Debug)]
struct End {
    shelves: Arc<Shelves>,
    group: Group,
}

impl Drop for End {
    fn drop(&mut self) {
        self.shelves.free(&self.group);
    }
}
