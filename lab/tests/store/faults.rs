//! Each fault, at the commit it was injected at and at no other.

use std::{sync::Arc, time::Duration};

use pointsman_catalog::{
    Store,
    store::{Key, Precondition, StoreError, Write},
};
use pointsman_lab::store::{Fault, FaultInjectingStore, Point};
use tempfile::TempDir;
use tokio::{task::JoinSet, time::timeout};

use crate::{
    embedded,
    store_suite::{PATIENCE, abandon, put, read},
};

/// A faulty store over an embedded one, which shows what was committed.
struct Fixture {
    inner: Arc<dyn Store>,
    store: Arc<FaultInjectingStore>,
    _folder: TempDir,
}

impl Fixture {
    fn with(number: u64, fault: Fault) -> Self {
        let (inner, folder) = embedded();
        let store = Arc::new(FaultInjectingStore::new(Arc::clone(&inner)));
        store.inject(number, fault);
        Self {
            inner,
            store,
            _folder: folder,
        }
    }

    async fn committed(&self) -> Vec<String> {
        let found = self.inner.range("").await.unwrap();
        let keys = found.into_iter().map(|(key, _)| key.as_str().to_owned());
        keys.collect()
    }

    /// Begins a commit of `key`, and returns the task that waits for its answer.
    fn begin(&self, key: &str) -> JoinSet<Result<(), StoreError>> {
        let (store, writes) = (Arc::clone(&self.store), write(key));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { store.commit(writes).await.map(|_| ()) });
        tasks
    }

    async fn commit(&self, key: &str) -> Result<(), StoreError> {
        self.store.commit(write(key)).await.map(|_| ())
    }
}

fn write(key: &str) -> Vec<Write> {
    vec![put(key, "", Precondition::Any)]
}

fn is_unavailable(outcome: &Result<(), StoreError>) -> bool {
    matches!(outcome, Err(StoreError::Unavailable(_)))
}

/// Runs `call`, which must not return, beside calls that do. Commits take turns, so that a
/// commit which gets through is done before the later ones.
async fn never<T>(inner: &dyn Store, call: impl Future<Output = T>) {
    let others = async {
        for _ in 0..5 {
            let nothing = Write {
                key: Key::new("nothing"),
                value: None,
                when: Precondition::Any,
            };
            inner.commit(vec![nothing]).await.unwrap();
        }
    };
    tokio::select! {
        biased;
        _ = call => panic!("it returned"),
        () = others => {}
    }
}

#[tokio::test]
async fn commits_are_counted_also_those_whose_precondition_fails() {
    let fixture = Fixture::with(9, Fault::Delay);
    assert_eq!(fixture.store.commits(), 0);
    fixture.commit("a").await.unwrap();
    let conflict = vec![put("a", "", Precondition::Absent)];
    fixture.store.commit(conflict).await.unwrap_err();
    assert_eq!(fixture.store.commits(), 2);
    fixture.store.reached(2, PATIENCE).await.unwrap();
    let early = fixture.store.reached(3, Duration::ZERO).await.unwrap_err();
    assert!(early.to_string().contains("the newest is 2"), "{early}");
}

#[tokio::test]
async fn a_stop_before_the_commit_commits_nothing_and_nothing_returns_any_more() {
    let fixture = Fixture::with(2, Fault::Stop(Point::BeforeCommit));
    fixture.commit("a").await.unwrap();
    let mut waiting = fixture.begin("b");
    fixture.store.reached(2, PATIENCE).await.unwrap();
    never(&*fixture.inner, waiting.join_next()).await;
    nothing_returns(&fixture).await;
    assert_eq!(fixture.committed().await, ["a"]);
}

#[tokio::test]
async fn a_stop_after_the_commit_has_committed_it_and_nothing_else_any_more() {
    let fixture = Fixture::with(2, Fault::Stop(Point::AfterCommit));
    fixture.commit("a").await.unwrap();
    let mut waiting = fixture.begin("b");
    fixture.store.reached(2, PATIENCE).await.unwrap();
    assert_eq!(fixture.committed().await, ["a", "b"]);
    never(&*fixture.inner, waiting.join_next()).await;
    nothing_returns(&fixture).await;
    assert_eq!(fixture.committed().await, ["a", "b"]);
}

async fn nothing_returns(fixture: &Fixture) {
    let Fixture { inner, store, .. } = fixture;
    never(&**inner, store.commit(write("c"))).await;
    never(&**inner, store.get(&Key::new("a"))).await;
    never(&**inner, store.range("")).await;
}

/// A commit that is called while the stopping one is under way comes too late.
#[tokio::test]
async fn no_commit_overtakes_a_stop() {
    for point in [Point::BeforeCommit, Point::AfterCommit] {
        let fixture = Fixture::with(1, Fault::Stop(point));
        let store: Arc<dyn Store> = fixture.store.clone();
        abandon(&store, &["a"]).await;
        never(&*fixture.inner, fixture.store.commit(write("b"))).await;
        assert_eq!(read(&fixture.inner, "b").await, None);
    }
}

#[tokio::test]
async fn a_failure_before_the_commit_commits_nothing() {
    let fixture = Fixture::with(1, Fault::Fail(Point::BeforeCommit));
    let failed = fixture.commit("a").await;
    assert!(is_unavailable(&failed), "{failed:?}");
    assert_eq!(fixture.committed().await, [""; 0]);
    fixture.commit("a").await.unwrap();
    assert_eq!(fixture.committed().await, ["a"]);
}

#[tokio::test]
async fn a_lost_answer_belongs_to_a_commit_that_happened() {
    let fixture = Fixture::with(1, Fault::Fail(Point::AfterCommit));
    let failed = fixture.commit("a").await;
    assert!(is_unavailable(&failed), "{failed:?}");
    assert_eq!(fixture.committed().await, ["a"]);
    fixture.store.reached(1, PATIENCE).await.unwrap();
    fixture.commit("b").await.unwrap();
}

#[tokio::test]
async fn a_precondition_that_fails_is_told_although_the_answer_was_to_be_lost() {
    let fixture = Fixture::with(2, Fault::Fail(Point::AfterCommit));
    fixture.commit("a").await.unwrap();
    let writes = vec![put("a", "", Precondition::Absent)];
    let refused = fixture.store.commit(writes).await;
    assert!(
        matches!(refused, Err(StoreError::Conflict { .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_delayed_commit_happens_when_it_is_released_and_holds_up_no_other() {
    let fixture = Fixture::with(1, Fault::Delay);
    let mut waiting = fixture.begin("late");
    fixture.store.reached(1, PATIENCE).await.unwrap();
    fixture.commit("early").await.unwrap();
    assert_eq!(fixture.committed().await, ["early"]);
    never(&*fixture.inner, waiting.join_next()).await;
    fixture.store.release(1);
    let answered = timeout(PATIENCE, waiting.join_next()).await.unwrap();
    answered.unwrap().unwrap().unwrap();
    assert_eq!(fixture.committed().await, ["early", "late"]);
}

#[tokio::test]
async fn a_delayed_commit_whose_caller_gave_up_happens_all_the_same() {
    let fixture = Fixture::with(1, Fault::Delay);
    let mut changes = fixture.store.watch();
    let store: Arc<dyn Store> = fixture.store.clone();
    abandon(&store, &["a"]).await;
    assert_eq!(fixture.committed().await, [""; 0]);
    fixture.store.release(1);
    timeout(PATIENCE, changes.changed()).await.unwrap().unwrap();
    assert_eq!(fixture.committed().await, ["a"]);
}
