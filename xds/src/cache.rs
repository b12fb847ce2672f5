mod published;
mod stage;

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use arc_swap::ArcSwapOption;
use tokio::sync::watch;

pub(crate) use self::published::Published;
use self::{published::Compared, stage::Staged};
use crate::{node::NodeId, snapshot::Snapshot};

/// The nodes that share one snapshot.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Group(Arc<str>);

impl Group {
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self(name.into())
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The number of a publish, over the whole cache; it grows by one with each. It lives as
/// long as the process: content keeps its version over a restart, a sequence does not.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Sequence(u64);

impl Sequence {
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl From<u64> for Sequence {
    /// For a number that was taken from [`Sequence::get`] and kept.
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
    shelves: RwLock<HashMap<Group, Arc<Shelf>>>,
    /// The last sequence given out; held while a publish is under way.
    last: Mutex<Sequence>,
}

impl SnapshotCache {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes these the snapshots of their groups, all under one sequence, and wakes their
    /// streams. Groups not named keep theirs. A snapshot whose resources have the versions
    /// that the nodes acknowledged already replaces the older bodies and sends nothing.
    ///
    /// What canaries of these groups were trying is taken away from them: this is newer.
    pub fn publish(&self, snapshots: BTreeMap<Group, Snapshot>) -> Sequence {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let sequence = Sequence(last.0 + 1);
        let mut changed = Vec::with_capacity(snapshots.len());
        let mut compared = Compared::default();
        for (group, snapshot) in snapshots {
            let shelf = self.shelf(&group);
            let former = shelf.published.load();
            let published = Published::new(sequence, snapshot, former.as_deref(), &mut compared);
            shelf.published.store(Some(Arc::new(published)));
            shelf.staged.store(None);
            changed.push(shelf);
        }
        *last = sequence;
        // Wake only when every group has its snapshot, so that whoever sees the sequence in
        // one group finds it in the others.
        for shelf in changed {
            shelf.sequence.send_replace(sequence);
        }
        sequence
    }

    #[must_use]
    pub fn snapshot(&self, group: &Group) -> Option<Snapshot> {
        let shelf = self.existing(group)?;
        let published = shelf.published.load();
        published.as_ref().map(|found| found.snapshot.clone())
    }

    /// Forgets a group. Its open streams keep what they have and are told nothing more,
    /// until the group is published again.
    pub fn remove(&self, group: &Group) {
        let mut shelves = self.shelves.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(shelf) = shelves.get(group) {
            shelf.published.store(None);
            if shelf.sequence.receiver_count() == 0 {
                shelves.remove(group);
            }
        }
    }

    /// Where the group's newest snapshot stands, found once for many looks.
    pub(crate) fn place(&self, group: &Group) -> Place {
        Place(self.shelf(group))
    }

    /// Follows a group on behalf of one of its nodes, whether it has a snapshot yet or not.
    pub(crate) fn subscribe(&self, group: &Group, node: &NodeId) -> Watch {
        // Taken before the map is unlocked, or `remove` could drop the shelf in between.
        let mut shelves = self.shelves.write().unwrap_or_else(PoisonError::into_inner);
        let shelf = Arc::clone(shelves.entry(group.clone()).or_default());
        let sequence = shelf.sequence.subscribe();
        Watch {
            shelf,
            sequence,
            node: node.clone(),
        }
    }

    fn existing(&self, group: &Group) -> Option<Arc<Shelf>> {
        let shelves = self.shelves.read().unwrap_or_else(PoisonError::into_inner);
        shelves.get(group).map(Arc::clone)
    }

    fn shelf(&self, group: &Group) -> Arc<Shelf> {
        self.existing(group).unwrap_or_else(|| {
            let mut shelves = self.shelves.write().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(shelves.entry(group.clone()).or_default())
        })
    }
}

/// One group's place. It carries the number through the watch and the content beside it: a
/// slow reader finds the newest content, never a backlog.
#[derive(Debug, Default)]
struct Shelf {
    published: ArcSwapOption<Published>,
    /// What some of the group's nodes have instead.
    staged: ArcSwapOption<Staged>,
    sequence: watch::Sender<Sequence>,
}

impl Shelf {
    /// What `node` of the group must have.
    fn of(&self, node: &NodeId) -> Option<Arc<Published>> {
        if let Some(staged) = &*self.staged.load()
            && staged.nodes.contains(node)
        {
            return Some(Arc::clone(&staged.published));
        }
        self.published.load_full()
    }
}

/// See [`SnapshotCache::place`].
#[derive(Debug)]
pub(crate) struct Place(Arc<Shelf>);

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
    shelf: Arc<Shelf>,
    sequence: watch::Receiver<Sequence>,
    node: NodeId,
}

impl Watch {
    /// The newest snapshot; whatever is published after this call ends [`Watch::changed`].
    pub(crate) fn newest(&mut self) -> Option<Arc<Published>> {
        self.sequence.borrow_and_update();
        self.shelf.of(&self.node)
    }

    /// Cancel-safe.
    pub(crate) async fn changed(&mut self) {
        if self.sequence.changed().await.is_err() {
            // The shelf, which holds the sender, is ours: it cannot have gone.
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshots(groups: &[&str]) -> BTreeMap<Group, Snapshot> {
        let empty = || Snapshot::builder().build().unwrap();
        groups
            .iter()
            .map(|name| (Group::new(*name), empty()))
            .collect()
    }

    #[test]
    fn one_publish_gives_all_its_groups_one_sequence() {
        let cache = SnapshotCache::new();
        let first = cache.publish(snapshots(&["a", "b"]));
        let second = cache.publish(snapshots(&["b"]));
        assert_eq!(
            cache.place(&Group::new("a")).sequence(&"n".into()),
            Some(first)
        );
        assert_eq!(
            cache.place(&Group::new("b")).sequence(&"n".into()),
            Some(second)
        );
        assert!(first < second);
    }

    #[tokio::test]
    async fn a_watch_sees_the_newest_of_several_publishes_once() {
        let cache = SnapshotCache::new();
        let mut watch = cache.subscribe(&Group::new("a"), &"n".into());
        assert!(watch.newest().is_none());
        cache.publish(snapshots(&["a"]));
        let newest = cache.publish(snapshots(&["a"]));
        watch.changed().await;
        assert_eq!(watch.newest().unwrap().sequence, newest);
        assert!(!watch.sequence.has_changed().unwrap());
    }

    #[tokio::test]
    async fn a_group_that_returns_reaches_the_streams_that_stayed() {
        let cache = SnapshotCache::new();
        let group = Group::new("a");
        cache.publish(snapshots(&["a"]));
        let mut watch = cache.subscribe(&group, &"n".into());
        watch.newest();
        cache.remove(&group);
        assert!(cache.snapshot(&group).is_none());
        cache.publish(snapshots(&["a"]));
        watch.changed().await;
        assert!(watch.newest().is_some());
    }
}
