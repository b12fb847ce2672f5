//! The contract of [`Store`], as claims that any implementation must keep.

use std::{sync::Arc, time::Duration};

use pointsman_catalog::{
    Store,
    store::{Changes, Key, Precondition, Revision, StoreError, Write},
};
use tokio::{task::JoinSet, time::timeout};

/// Makes each claim of the suite a test; `$fresh` gives an empty store, and what must outlive
/// the test beside it.
macro_rules! store_suite {
    ($fresh:expr) => {
        store_suite!($fresh;
            a_value_is_read_back_with_the_revision_that_wrote_it,
            a_missing_key_is_no_error,
            revisions_grow_with_each_commit,
            one_commit_gives_all_its_values_one_revision,
            a_failed_precondition_undoes_the_whole_commit,
            absent_means_never_written_or_deleted,
            a_value_deleted_and_written_again_is_not_the_old_one,
            a_failed_commit_takes_no_revision,
            a_range_is_in_key_order_and_ends_with_its_prefix,
            of_concurrent_conflicting_commits_exactly_one_wins,
            concurrent_increments_are_all_counted,
            watchers_hear_of_every_commit_and_of_nothing_else,
            a_caller_who_stops_waiting_leaves_all_or_nothing,
            changes_are_the_newest_values_written_since_a_revision,
            without_a_revision_to_begin_at_everything_is_a_change,
            a_commit_is_never_seen_in_part_by_its_followers,
        );
    };
    ($fresh:expr; $($claim:ident),* $(,)?) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $claim() {
            let (store, _kept) = $fresh;
            $crate::store_suite::$claim(store).await;
        }
    )*};
}
pub(crate) use store_suite;

pub(crate) fn put(key: &str, value: &str, when: Precondition) -> Write {
    Write {
        key: Key::new(key),
        value: Some(value.as_bytes().to_vec()),
        when,
    }
}

fn delete(key: &str, when: Precondition) -> Write {
    Write {
        key: Key::new(key),
        value: None,
        when,
    }
}

pub(crate) async fn read(store: &Arc<dyn Store>, key: &str) -> Option<(String, Revision)> {
    let found = store.get(&Key::new(key)).await.unwrap()?;
    Some((String::from_utf8(found.value).unwrap(), found.revision))
}

pub(crate) async fn a_value_is_read_back_with_the_revision_that_wrote_it(store: Arc<dyn Store>) {
    let written = store
        .commit(vec![put("a", "1", Precondition::Any)])
        .await
        .unwrap();
    store
        .commit(vec![put("b", "2", Precondition::Any)])
        .await
        .unwrap();
    assert_eq!(read(&store, "a").await, Some(("1".to_owned(), written)));
}

pub(crate) async fn a_missing_key_is_no_error(store: Arc<dyn Store>) {
    assert_eq!(read(&store, "a").await, None);
    assert_eq!(store.range("a").await.unwrap(), []);
    store
        .commit(vec![delete("a", Precondition::Any)])
        .await
        .unwrap();
}

pub(crate) async fn revisions_grow_with_each_commit(store: Arc<dyn Store>) {
    let mut last = Revision::default();
    for _ in 0..3 {
        let revision = store
            .commit(vec![put("a", "1", Precondition::Any)])
            .await
            .unwrap();
        assert!(revision > last);
        last = revision;
    }
}

pub(crate) async fn one_commit_gives_all_its_values_one_revision(store: Arc<dyn Store>) {
    let writes = ["a", "b", "c"].map(|key| put(key, key, Precondition::Absent));
    let revision = store.commit(writes.to_vec()).await.unwrap();
    for key in ["a", "b", "c"] {
        assert_eq!(read(&store, key).await, Some((key.to_owned(), revision)));
    }
}

pub(crate) async fn a_failed_precondition_undoes_the_whole_commit(store: Arc<dyn Store>) {
    let first = store
        .commit(vec![put("b", "old", Precondition::Absent)])
        .await
        .unwrap();
    let refused = store
        .commit(vec![
            put("a", "new", Precondition::Absent),
            delete("b", Precondition::At(first)),
            put("c", "new", Precondition::At(first)),
            put("d", "new", Precondition::Absent),
        ])
        .await;
    assert!(
        matches!(&refused, Err(StoreError::Conflict { key }) if key.as_str() == "c"),
        "{refused:?}"
    );
    let keys: Vec<_> = store.range("").await.unwrap();
    assert_eq!(keys.len(), 1);
    assert_eq!(read(&store, "b").await, Some(("old".to_owned(), first)));
}

pub(crate) async fn absent_means_never_written_or_deleted(store: Arc<dyn Store>) {
    let write = || vec![put("a", "1", Precondition::Absent)];
    let first = store.commit(write()).await.unwrap();
    assert!(matches!(
        store.commit(write()).await,
        Err(StoreError::Conflict { .. })
    ));
    store
        .commit(vec![delete("a", Precondition::At(first))])
        .await
        .unwrap();
    store.commit(write()).await.unwrap();
}

/// Else a stale writer could not tell that its value was gone in between.
pub(crate) async fn a_value_deleted_and_written_again_is_not_the_old_one(store: Arc<dyn Store>) {
    let old = store
        .commit(vec![put("a", "1", Precondition::Any)])
        .await
        .unwrap();
    store
        .commit(vec![delete("a", Precondition::Any)])
        .await
        .unwrap();
    store
        .commit(vec![put("a", "1", Precondition::Any)])
        .await
        .unwrap();
    let stale = store
        .commit(vec![put("a", "2", Precondition::At(old))])
        .await;
    assert!(matches!(stale, Err(StoreError::Conflict { .. })));
}

pub(crate) async fn a_failed_commit_takes_no_revision(store: Arc<dyn Store>) {
    let before = store
        .commit(vec![put("a", "1", Precondition::Any)])
        .await
        .unwrap();
    store
        .commit(vec![put("a", "2", Precondition::Absent)])
        .await
        .unwrap_err();
    assert_eq!(*store.watch().borrow(), before);
    assert_eq!(read(&store, "a").await, Some(("1".to_owned(), before)));
}

pub(crate) async fn a_range_is_in_key_order_and_ends_with_its_prefix(store: Arc<dyn Store>) {
    let keys = ["n/10", "n/9", "n/a", "n", "n0", "m/z", "n/", "o/1"];
    let writes = keys.map(|key| put(key, key, Precondition::Any));
    store.commit(writes.to_vec()).await.unwrap();
    let found = store.range("n/").await.unwrap();
    let found: Vec<_> = found.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(found, ["n/", "n/10", "n/9", "n/a"]);
    assert_eq!(store.range("").await.unwrap().len(), keys.len());
    assert_eq!(store.range("p").await.unwrap(), []);
}

pub(crate) async fn of_concurrent_conflicting_commits_exactly_one_wins(store: Arc<dyn Store>) {
    let base = store
        .commit(vec![put("a", "base", Precondition::Absent)])
        .await
        .unwrap();
    let mut tasks = JoinSet::new();
    for rival in 0..16 {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            let writes = vec![
                put(&format!("claim/{rival}"), "", Precondition::Absent),
                put("a", &rival.to_string(), Precondition::At(base)),
            ];
            store.commit(writes).await.ok().map(|_| rival)
        });
    }
    let outcomes = tasks.join_all().await;
    let winners: Vec<_> = outcomes.into_iter().flatten().collect();
    assert_eq!(winners.len(), 1);
    let (value, _) = read(&store, "a").await.unwrap();
    assert_eq!(value, winners[0].to_string());
    let claims = store.range("claim/").await.unwrap();
    assert_eq!(claims.len(), 1, "a loser left something behind");
}

pub(crate) async fn concurrent_increments_are_all_counted(store: Arc<dyn Store>) {
    store
        .commit(vec![put("n", "0", Precondition::Absent)])
        .await
        .unwrap();
    let mut tasks = JoinSet::new();
    for _ in 0..4 {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            for _ in 0..5 {
                increment(&store).await;
            }
        });
    }
    tasks.join_all().await;
    assert_eq!(read(&store, "n").await.unwrap().0, "20");
}

async fn increment(store: &Arc<dyn Store>) {
    loop {
        let (value, revision) = read(store, "n").await.unwrap();
        let next = (value.parse::<u32>().unwrap() + 1).to_string();
        match store
            .commit(vec![put("n", &next, Precondition::At(revision))])
            .await
        {
            Ok(_) => return,
            Err(StoreError::Conflict { .. }) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
}

pub(crate) async fn watchers_hear_of_every_commit_and_of_nothing_else(store: Arc<dyn Store>) {
    let mut early = store.watch();
    let first = store
        .commit(vec![put("a", "1", Precondition::Any)])
        .await
        .unwrap();
    timeout(PATIENCE, early.changed()).await.unwrap().unwrap();
    assert_eq!(*early.borrow_and_update(), first);
    store
        .commit(vec![put("a", "1", Precondition::Absent)])
        .await
        .unwrap_err();
    assert!(!early.has_changed().unwrap());
    let late = store.watch();
    assert_eq!(
        *late.borrow(),
        first,
        "a late watcher begins with the newest"
    );
}

pub(crate) async fn a_caller_who_stops_waiting_leaves_all_or_nothing(store: Arc<dyn Store>) {
    for round in 0..8 {
        abandon(&store, &[&format!("{round}/a"), &format!("{round}/b")]).await;
    }
    let found = store.range("").await.unwrap();
    for pair in found.chunks(2) {
        let [(a, one), (b, other)] = pair else {
            panic!("half a commit: {found:?}");
        };
        assert_eq!(a.as_str()[..2], b.as_str()[..2], "half a commit");
        assert_eq!(one.revision, other.revision);
    }
}

/// Begins a commit and stops waiting for it.
pub(crate) async fn abandon(store: &Arc<dyn Store>, keys: &[&str]) {
    let writes = keys.iter().map(|key| put(key, "", Precondition::Any));
    tokio::select! {
        biased;
        _ = store.commit(writes.collect()) => {}
        () = std::future::ready(()) => {}
    }
}

/// Far more than a commit takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// The changes under `prefixes`, as text; a deleted value is `None`.
async fn changed(
    store: &Arc<dyn Store>,
    prefixes: &[&str],
    after: Option<Revision>,
) -> (Changes, Vec<(String, Option<String>)>) {
    let changes = store.changes(prefixes, after).await.unwrap();
    let values = changes.values.iter();
    let values = values.map(|(key, value)| {
        let value = value.as_ref();
        let value = value.map(|it| String::from_utf8(it.value.clone()).unwrap());
        (key.to_string(), value)
    });
    let values = values.collect();
    (changes, values)
}

fn text(key: &str, value: Option<&str>) -> (String, Option<String>) {
    (key.to_owned(), value.map(str::to_owned))
}

pub(crate) async fn changes_are_the_newest_values_written_since_a_revision(store: Arc<dyn Store>) {
    let any = Precondition::Any;
    let both = vec![put("a/1", "old", any), put("a/2", "kept", any)];
    let before = store.commit(both).await.unwrap();
    store
        .commit(vec![put("a/1", "newer", any), put("b/1", "elsewhere", any)])
        .await
        .unwrap();
    store.commit(vec![put("a/1", "newest", any)]).await.unwrap();
    let last = store.commit(vec![delete("a/3", any)]).await.unwrap();
    let (changes, values) = changed(&store, &["a/"], Some(before)).await;
    assert_eq!(values, [text("a/1", Some("newest")), text("a/3", None)]);
    assert_eq!((changes.revision, changes.complete), (last, false));
    let (changes, values) = changed(&store, &["a/", "b/"], Some(last)).await;
    assert_eq!(values, []);
    assert_eq!((changes.revision, changes.complete), (last, false));
}

pub(crate) async fn without_a_revision_to_begin_at_everything_is_a_change(store: Arc<dyn Store>) {
    let any = Precondition::Any;
    let (changes, values) = changed(&store, &["a/"], None).await;
    assert_eq!(values, []);
    assert!(changes.complete);
    let three = [("a/1", "one"), ("b/1", "two"), ("c/1", "three")];
    let writes = three.map(|(key, value)| put(key, value, any));
    let revision = store.commit(writes.into()).await.unwrap();
    let (changes, values) = changed(&store, &["a/", "c/"], None).await;
    assert_eq!(
        values,
        [text("a/1", Some("one")), text("c/1", Some("three"))]
    );
    assert_eq!((changes.revision, changes.complete), (revision, true));
}

/// Both values of each commit are equal, so a reader that sees half of a commit sees two different values.
pub(crate) async fn a_commit_is_never_seen_in_part_by_its_followers(store: Arc<dyn Store>) {
    let mut tasks = JoinSet::new();
    for writer in 0..2 {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            for number in 0..40 {
                let value = format!("{writer}-{number}");
                let pair = ["a/1", "a/2"].map(|key| put(key, &value, Precondition::Any));
                store.commit(pair.into()).await.unwrap();
            }
        });
    }
    let mut followed = Some(store.changes(&["a/"], None).await.unwrap().revision);
    let mut seen = None;
    let mut revisions = store.watch();
    loop {
        let newest = *revisions.borrow_and_update();
        let (changes, values) = changed(&store, &["a/"], followed).await;
        assert!(!changes.complete);
        assert!(changes.revision >= newest, "{changes:?} lacks {newest:?}");
        match &values[..] {
            [] => {}
            [one, other] => {
                assert_eq!(one.1, other.1, "{changes:?}");
                seen = one.1.clone();
            }
            _ => panic!("{changes:?}"),
        }
        followed = Some(changes.revision);
        if changes.revision == Revision(80) {
            break;
        }
        revisions.changed().await.unwrap();
    }
    let last = read(&store, "a/1").await.map(|(value, _)| value);
    assert_eq!(seen, last);
    tasks.join_all().await;
}
