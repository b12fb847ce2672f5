use std::{
    future::poll_fn,
    sync::atomic::{AtomicUsize, Ordering},
    task::{Context, Poll, Wake, Waker},
};

use bytes::Bytes;
use futures_util::poll;

use super::*;
use crate::resource::{Resource, ResourceType};

fn snapshots(groups: &[&str]) -> BTreeMap<Group, Snapshot> {
    let empty = || Snapshot::builder().build().unwrap();
    groups
        .iter()
        .map(|name| (Group::new(*name), empty()))
        .collect()
}

#[test]
fn a_dismissed_node_may_subscribe_again() {
    let cache = SnapshotCache::new();
    let group = Group::new("a");
    cache.publish(snapshots(&["a"]));
    let subscribe = |node: &str| cache.subscribe(&group, &node.into());
    let (first, other) = (subscribe("n"), subscribe("other"));
    cache.dismiss(&group, &"n".into());
    let again = subscribe("n");
    assert!(first.is_dismissed());
    assert!(!other.is_dismissed() && !again.is_dismissed());
    cache.dismiss(&group, &"n".into());
    assert!(again.is_dismissed());
}

#[test]
fn one_publish_gives_all_its_groups_one_sequence() {
    let cache = SnapshotCache::new();
    let first = cache.publish(snapshots(&["a", "b"]));
    let second = cache.publish(snapshots(&["b"]));
    assert_eq!(
        cache.required_sequence(&Group::new("a")).of(&"n".into()),
        Some(first)
    );
    assert_eq!(
        cache.required_sequence(&Group::new("b")).of(&"n".into()),
        Some(second)
    );
    assert!(first < second);
}

#[tokio::test]
async fn a_watch_sees_the_newest_of_several_publishes_once() {
    let cache = SnapshotCache::new();
    let mut watch = cache.subscribe(&Group::new("a"), &"n".into());
    assert!(watch.load().is_none());
    cache.publish(snapshots(&["a"]));
    let newest = cache.publish(snapshots(&["a"]));
    poll_fn(|cx| watch.poll_changed(cx)).await;
    assert_eq!(watch.load().unwrap().sequence, newest);
    let changed = poll_fn(|cx| Poll::Ready(watch.poll_changed(cx))).await;
    assert!(changed.is_pending());
}

#[tokio::test]
async fn a_group_that_is_published_again_reaches_its_open_streams() {
    let cache = SnapshotCache::new();
    let group = Group::new("a");
    cache.publish(snapshots(&["a"]));
    let mut watch = cache.subscribe(&group, &"n".into());
    watch.load();
    cache.remove(&group);
    assert!(cache.snapshot(&group).is_none());
    cache.publish(snapshots(&["a"]));
    poll_fn(|cx| watch.poll_changed(cx)).await;
    assert!(watch.load().is_some());
}

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn a_wake_up_that_is_interrupted_is_resumed() {
    let cache = SnapshotCache::new();
    let counts = [Arc::new(Count::default()), Arc::new(Count::default())];
    let mut watches = ["a", "b"].map(|group| cache.subscribe(&Group::new(group), &"n".into()));
    for (watch, count) in watches.iter_mut().zip(&counts) {
        let waker = Waker::from(Arc::clone(count));
        assert!(
            watch
                .poll_changed(&Context::from_waker(&waker))
                .is_pending()
        );
    }
    let mut first = Box::pin(cache.wake_streams());
    assert!(poll!(first.as_mut()).is_pending());
    cache.publish(snapshots(&["a", "b"]));
    // It has woken somebody, and rests.
    assert!(poll!(first.as_mut()).is_pending());
    drop(first);
    let woken = || {
        counts
            .each_ref()
            .map(|count| count.0.load(Ordering::Relaxed))
    };
    assert_eq!(woken(), [1, 0]);
    let mut second = Box::pin(cache.wake_streams());
    for _ in 0..10 {
        assert!(poll!(second.as_mut()).is_pending());
    }
    assert_eq!(
        woken(),
        [2, 1],
        "whom the first had not got to, and once more all that it had begun"
    );
    cache.publish(snapshots(&["a", "b"]));
    for _ in 0..10 {
        assert!(poll!(second.as_mut()).is_pending());
    }
    assert_eq!(woken(), [3, 2]);
}

#[test]
fn removing_a_group_ends_its_trial() {
    let cache = SnapshotCache::new();
    let group = Group::new("a");
    cache.publish(snapshots(&["a"]));
    let canary = cache.subscribe(&group, &"n".into());
    let stage = cache.stage(snapshots(&["a"]), Arc::new(["n".into()].into()));
    cache.remove(&group);
    assert!(canary.peek().is_none());
    assert!(!stage.promote());
    assert!(cache.snapshot(&group).is_none());
}

#[test]
fn an_empty_slot_is_freed_with_its_last_reference() {
    let cache = SnapshotCache::new();
    let places = || cache.slots.len();
    let group = Group::new("a");
    let look = || {
        (
            cache.subscribe(&group, &"n".into()),
            cache.required_sequence(&group),
        )
    };
    for number in 0..1000 {
        drop(cache.subscribe(&Group::new(number.to_string()), &"n".into()));
    }
    assert_eq!(places(), 0);
    let (watch, place) = look();
    drop(watch);
    assert_eq!(places(), 1, "the other looks at it still");
    drop(place);
    assert_eq!(places(), 0);
    cache.publish(snapshots(&["a"]));
    drop(look());
    assert!(cache.snapshot(&group).is_some());
}

#[test]
fn required_snapshot_of_a_canary_is_the_staged_one() {
    let cache = SnapshotCache::new();
    let group = Group::new("a");
    let layer = Resource::new(ResourceType::Runtime, "layer", Bytes::from_static(b"new"));
    let tried = Snapshot::builder().insert(layer).build().unwrap();
    cache.publish(snapshots(&["a"]));
    let canaries = Arc::new([NodeId::from("canary")].into());
    let _stage = cache.stage([(group.clone(), tried.clone())].into(), canaries);
    let snapshot_of = |node: &str| cache.snapshot_of(&group, &node.into());
    assert_eq!(snapshot_of("canary"), Some(tried));
    assert_eq!(snapshot_of("other"), cache.snapshot(&group));
}

#[tokio::test]
async fn the_slot_of_a_removed_group_is_freed_after_its_streams_are_woken() {
    let cache = SnapshotCache::new();
    let group = Group::new("a");
    let watch = cache.subscribe(&group, &"n".into());
    drop(cache.stage(snapshots(&["b"]), Arc::default()));
    cache.publish(snapshots(&["a"]));
    cache.remove(&group);
    drop(watch);
    assert_eq!(cache.slots.len(), 2, "both are still to be told of");
    assert!(poll!(Box::pin(cache.wake_streams()).as_mut()).is_pending());
    assert_eq!(cache.slots.len(), 0);
}
