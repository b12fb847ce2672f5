//! What the embedded store adds to the contract: a file that survives.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, sync::Arc};

use pointsman_catalog::{
    Store,
    store::{EmbeddedStore, Precondition, StoreError},
};
use tempfile::TempDir;
use tokio::time::timeout;

use crate::{
    second_process::{Second, Task},
    store_suite::{PATIENCE, abandon, put, read, store_suite},
};

fn fresh() -> (Arc<dyn Store>, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    (Arc::new(EmbeddedStore::create(dir.path()).unwrap()), dir)
}

mod contract {
    use super::{fresh, store_suite};

    store_suite!(fresh());
}

#[tokio::test]
async fn everything_is_there_after_the_file_was_closed_and_opened() {
    let (store, dir) = fresh();
    let revision = store
        .commit(vec![
            put("a", "1", Precondition::Absent),
            put("b", "2", Precondition::Absent),
        ])
        .await
        .unwrap();
    drop(store);
    let store: Arc<dyn Store> = Arc::new(EmbeddedStore::open(dir.path()).unwrap());
    assert_eq!(read(&store, "a").await, Some(("1".to_owned(), revision)));
    assert_eq!(*store.watch().borrow(), revision);
    let next = vec![put("b", "3", Precondition::At(revision))];
    assert!(store.commit(next).await.unwrap() > revision);
}

#[tokio::test]
async fn watchers_hear_of_a_commit_whose_caller_stopped_waiting() {
    let (store, _dir) = fresh();
    let mut watch = store.watch();
    abandon(&store, &["a"]).await;
    timeout(PATIENCE, watch.changed()).await.unwrap().unwrap();
    let (_, revision) = read(&store, "a").await.unwrap();
    assert_eq!(*watch.borrow(), revision);
}

/// Nothing less would let a journal speak of intent before effect.
#[tokio::test]
async fn a_commit_that_was_reported_outlives_kill_nine() {
    let (store, dir) = fresh();
    drop(store);
    for round in 1..=5 {
        let mut second = Second::start(Task::CommitUntilKilled, dir.path());
        // Killed at another place each time.
        let heard = (0..round * 7).map(|_| second.says().unwrap()).last();
        let reported = second.kill().or(heard).unwrap();
        let store: Arc<dyn Store> = Arc::new(EmbeddedStore::open(dir.path()).unwrap());
        let (a, revision_a) = read(&store, "a").await.unwrap();
        let (b, revision_b) = read(&store, "b").await.unwrap();
        assert_eq!((&a, revision_a), (&b, revision_b), "half a commit");
        let number = |text: &str| text.split(':').next().unwrap().parse::<u64>().unwrap();
        assert!(number(&a) >= number(&reported), "{reported} was reported");
    }
}

#[test]
fn a_store_that_another_process_has_is_locked_until_that_one_ends() {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::create(dir.path()).unwrap();
    let path = dir.path().join("pointsman.redb");
    assert_eq!(
        Second::start(Task::Open, dir.path()).says().unwrap(),
        format!(
            "store {} is locked by another process: stop that pointsman, or use another \
             --data-dir",
            path.display()
        )
    );
    drop(store);
    assert_eq!(
        Second::start(Task::Open, dir.path()).says().unwrap(),
        "open"
    );

    let mut second = Second::start(Task::CommitUntilKilled, dir.path());
    second.says().unwrap();
    let refused = EmbeddedStore::open(dir.path());
    assert!(matches!(refused, Err(StoreError::Locked { .. })));
    second.kill();
    EmbeddedStore::open(dir.path()).unwrap();
}

#[test]
fn a_full_disk_refuses_a_commit_and_the_store_goes_on_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    drop(EmbeddedStore::create(dir.path()).unwrap());
    let mut second = Second::start_with_room(4_096, Task::CommitUntilFull, dir.path());
    assert_eq!(second.says().unwrap(), "the store failed");
    assert_eq!(second.says().unwrap(), "made room, 0");
    assert_eq!(second.says().unwrap(), "goes on");
}

#[test]
fn a_store_is_never_made_over_another_nor_opened_where_there_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let inner = dir.path().join("deep/data");
    let missing = EmbeddedStore::open(&inner);
    assert!(matches!(missing, Err(StoreError::Missing { .. })));
    assert!(!inner.exists(), "a look must not leave anything");
    drop(EmbeddedStore::create(&inner).unwrap());
    let again = EmbeddedStore::create(&inner);
    assert!(matches!(again, Err(StoreError::Exists { .. })));
    EmbeddedStore::open(&inner).unwrap();
}

#[test]
fn of_many_that_make_one_store_one_does() {
    let dir = tempfile::tempdir().unwrap();
    let made = std::thread::scope(|scope| {
        let rivals: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| EmbeddedStore::create(dir.path())))
            .collect();
        let outcomes = rivals.into_iter().map(|rival| rival.join().unwrap());
        outcomes
            .filter_map(|outcome| match outcome {
                Ok(store) => Some(store),
                Err(StoreError::Exists { .. }) => None,
                Err(other) => panic!("{other:?}"),
            })
            .collect::<Vec<_>>()
    });
    assert_eq!(made.len(), 1);
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[test]
fn nobody_but_its_owner_reads_a_store() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let _store = EmbeddedStore::create(&data).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&data), 0o700);
    assert_eq!(mode(&data.join("pointsman.redb")), 0o600);
}

#[test]
fn what_is_no_store_is_named_and_left_as_it_is() {
    let other = tempfile::tempdir().unwrap();
    let path = other.path().join("pointsman.redb");
    for content in [Vec::new(), b"hello".to_vec(), vec![7; 100_000]] {
        fs::write(&path, &content).unwrap();
        foreign(other.path());
        assert_eq!(fs::read(&path).unwrap(), content);
    }
    fs::remove_file(&path).unwrap();
    drop(redb::Database::create(&path).unwrap());
    foreign(other.path());
}

#[tokio::test]
async fn a_damaged_store_is_refused_when_it_is_opened() {
    let (store, dir) = fresh();
    for number in 0..50 {
        let value = "v".repeat(2_000);
        let write = put(&format!("k/{number}"), &value, Precondition::Any);
        store.commit(vec![write]).await.unwrap();
    }
    drop(store);
    let path = dir.path().join("pointsman.redb");
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() / 3]).unwrap();
    foreign(dir.path());

    let mut damaged = whole.clone();
    let value = damaged
        .windows(2_000)
        .rposition(|window| window == [b'v'; 2_000]);
    damaged[value.unwrap() + 1_000] = b'w';
    fs::write(&path, &damaged).unwrap();
    foreign(dir.path());

    fs::write(&path, &whole).unwrap();
    EmbeddedStore::open(dir.path()).unwrap();
}

/// Claims that the file is refused with a message that names it.
fn foreign(dir: &Path) {
    let error = EmbeddedStore::open(dir).unwrap_err();
    assert!(matches!(error, StoreError::Foreign { .. }), "{error:?}");
    let path = dir.join("pointsman.redb").display().to_string();
    let message = error.to_string();
    assert!(
        message.starts_with(&format!("{path} is damaged or no store")),
        "{message}"
    );
}
