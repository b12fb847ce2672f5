//! A publish that some nodes try before all get it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, PoisonError},
};

use super::{
    Group, Published, Sequence, SnapshotCache,
    published::Compared,
    shelf::{Hold, Shelf},
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
    shelves: Vec<Hold>,
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
            .map(|(group, snapshot)| (self.shelves.shelf(&group), snapshot))
            .collect::<Vec<_>>();
        let others = staged.iter().map(|(shelf, _)| &**shelf);
        withdraw(
            others.filter(|shelf| shelf.staged.load().is_some()),
            &mut last,
        );
        *last = Sequence(last.0 + 1);
        let sequence = *last;
        let mut shelves = Vec::with_capacity(staged.len());
        let mut compared = Compared::default();
        for (shelf, snapshot) in staged {
            let former = shelf.published.load();
            let published = Published::new(sequence, snapshot, former.as_deref(), &mut compared);
            shelf.staged.store(Some(Arc::new(Staged {
                published: Arc::new(published),
                nodes: Arc::clone(&nodes),
            })));
            shelves.push(shelf);
        }
        self.wake(shelves.clone());
        Stage {
            cache: self,
            sequence,
            shelves,
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
        let staged: Option<Vec<_>> = self.shelves.iter().map(|shelf| self.own(shelf)).collect();
        let Some(staged) = staged else {
            return false;
        };
        let shelves = std::mem::take(&mut self.shelves);
        for (shelf, staged) in shelves.iter().zip(staged) {
            shelf.published.store(Some(Arc::clone(&staged.published)));
            shelf.staged.store(None);
        }
        self.cache.wake(shelves);
        true
    }

    /// Gives the canaries the former content back; returns the sequence that this is under.
    pub(crate) fn withdraw(mut self) -> Sequence {
        self.end()
    }

    fn end(&mut self) -> Sequence {
        let mut shelves = std::mem::take(&mut self.shelves);
        let last = self.cache.last.lock();
        let mut last = last.unwrap_or_else(PoisonError::into_inner);
        shelves.retain(|shelf| self.own(shelf).is_some());
        withdraw(shelves.iter().map(|shelf| &**shelf), &mut last);
        self.cache.wake(shelves);
        *last
    }

    /// What is staged there, if it is still this stage's.
    fn own(&self, shelf: &Shelf) -> Option<Arc<Staged>> {
        let staged = shelf.staged.load_full();
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
fn withdraw<'a>(shelves: impl Iterator<Item = &'a Shelf>, last: &mut Sequence) {
    let sequence = Sequence(last.0 + 1);
    for shelf in shelves {
        let staged = match shelf.published.load_full() {
            Some(former) => {
                let again = Arc::new(former.again(sequence));
                shelf.published.store(Some(again));
                None
            }
            None => {
                let tried = shelf.staged.load_full();
                tried.and_then(|tried| tried.emptied(sequence))
            }
        };
        shelf.staged.store(staged);
        *last = sequence;
    }
}
