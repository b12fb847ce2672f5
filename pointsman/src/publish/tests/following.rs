//! The follower publishes every commit, also that of another process.

use std::sync::Mutex as SyncMutex;

use async_trait::async_trait;
use pointsman_catalog::{
    Store,
    store::{Changes, Key, Precondition, Revision, StoreError, Versioned, Write},
};
use tokio::sync::watch;

use super::*;

/// A store in which somebody else commits just when a follower has read it.
#[derive(Debug)]
struct CommittedMeanwhile {
    inner: Arc<dyn Store>,
    meanwhile: SyncMutex<Option<BTreeMap<DatabaseName, RouteChange>>>,
}

#[async_trait]
impl Store for CommittedMeanwhile {
    async fn get(&self, key: &Key) -> Result<Option<Versioned>, StoreError> {
        self.inner.get(key).await
    }

    async fn range(&self, prefix: &str) -> Result<Vec<(Key, Versioned)>, StoreError> {
        self.inner.range(prefix).await
    }

    async fn changes(
        &self,
        prefixes: &[&str],
        after: Option<Revision>,
    ) -> Result<Changes, StoreError> {
        let read = self.inner.changes(prefixes, after).await;
        let meanwhile = self.meanwhile.lock().unwrap().take();
        if let Some(change) = meanwhile {
            let other = Catalog::new(Arc::clone(&self.inner));
            other.change_routes(&change).await.unwrap();
        }
        read
    }

    async fn commit(&self, writes: Vec<Write>) -> Result<Revision, StoreError> {
        self.inner.commit(writes).await
    }

    async fn room(&self) -> Result<u64, StoreError> {
        self.inner.room().await
    }

    fn watch(&self) -> watch::Receiver<Revision> {
        self.inner.watch()
    }
}

fn billing() -> DatabaseName {
    DatabaseName::new("billing").unwrap()
}

fn serve(database: DatabaseName, by: &str) -> BTreeMap<DatabaseName, RouteChange> {
    let change = RouteChange {
        writer: Some(Route::serve(vec![server(by)])),
        reader: None,
    };
    [(database, change)].into()
}

#[tokio::test]
async fn two_replicas_on_one_store_publish_the_same() {
    let stored = TestCatalog::new().await;
    let (one, other) = (stored.follow().await, stored.follow().await);
    let before = assignment(&other, 11, "writer.orders");
    one.data_plane
        .publish(&serve(orders(), "green"))
        .await
        .unwrap();
    stored.register("app-2", 12).await;
    for replica in [&one, &other] {
        replica.catch_up(&stored).await;
    }
    let after = assignment(&other, 11, "writer.orders");
    assert_ne!(after.0, before.0);
    for (last, name) in [(11, "writer.orders"), (12, "writer.billing")] {
        assert_eq!(assignment(&one, last, name), assignment(&other, last, name));
    }
    let registered = |replica: &Running| replica.view.awaited().len();
    assert_eq!((registered(&one), registered(&other)), (2, 2));
}

#[tokio::test]
async fn one_change_of_many_databases_is_one_publish() {
    let stored = TestCatalog::new().await;
    let running = stored.follow().await;
    let before = running.cache.newest().get();
    let mut both = serve(orders(), "green");
    both.extend(serve(billing(), "green"));
    let publication = running.data_plane.publish(&both).await.unwrap();
    assert_eq!(publication.sequence, before + 1);
    assert_eq!(running.cache.newest().get(), before + 1);
    assert_eq!(publication.epochs.len(), 2);
}

#[tokio::test]
async fn what_is_no_matter_of_the_sidecars_is_not_published() {
    let stored = TestCatalog::new().await;
    let running = stored.follow().await;
    let before = running.cache.newest();
    let write = Write {
        key: Key::new("migrations/m"),
        value: Some(b"{}".to_vec()),
        when: Precondition::Any,
    };
    stored.catalog.store().commit(vec![write]).await.unwrap();
    running.catch_up(&stored).await;
    assert_eq!(running.cache.newest(), before);
}

#[tokio::test]
async fn a_database_that_cannot_be_rendered_keeps_what_it_has_and_hinders_no_other() {
    let stored = TestCatalog::new().await;
    let running = stored.follow().await;
    let before = assignment(&running, 11, "writer.orders");
    // Recorded by somebody who did not try to render it.
    let lost = serve(orders(), "lost");
    let changed = stored.catalog.change_routes(&lost).await.unwrap();
    let progress = running
        .follower
        .until_published(changed.revision)
        .await
        .unwrap();
    let error = progress.check_all().unwrap_err().to_string();
    assert!(
        error.contains("the sidecars keep what they have"),
        "{error}"
    );
    assert!(error.contains("no resolved address"), "{error}");
    assert!(progress.check([&billing()]).is_ok());
    assert_eq!(assignment(&running, 11, "writer.orders"), before);

    let moved = serve(billing(), "green");
    running.data_plane.publish(&moved).await.unwrap();
    assert_ne!(
        assignment(&running, 11, "writer.billing").0,
        assignment(&running, 11, "writer.orders").0
    );

    let found = "no-such-host.invalid:5432".parse().unwrap();
    let resolved = [(found, vec!["10.0.0.9:5432".parse().unwrap()])].into();
    let recorded = stored.catalog.record_addresses(&resolved).await.unwrap();
    let progress = running.follower.until_published(recorded).await.unwrap();
    assert!(progress.check_all().is_ok());
    assert_ne!(assignment(&running, 11, "writer.orders"), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_commit_is_left_unpublished_however_many_come_at_once() {
    let stored = TestCatalog::new().await;
    let running = stored.follow().await;
    let mut writers = JoinSet::new();
    for writer in 0..4 {
        let catalog = Arc::clone(&stored.catalog);
        let follower = running.follower.clone();
        writers.spawn(async move {
            let name = if writer % 2 == 0 { orders() } else { billing() };
            for to in ["green", "blue"].iter().cycle().take(10) {
                let change = serve(name.clone(), to);
                // Writers of the same database get into each other's way at times.
                let Ok(changed) = catalog.change_routes(&change).await else {
                    continue;
                };
                follower.until_published(changed.revision).await.unwrap();
            }
        });
    }
    writers.join_all().await;
    running.catch_up(&stored).await;
    let afresh = stored.follow().await;
    for name in ["writer.orders", "writer.billing"] {
        assert_eq!(
            assignment(&running, 11, name),
            assignment(&afresh, 11, name),
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_commit_that_comes_while_the_follower_reads_is_published() {
    let stored = TestCatalog::new().await;
    let store = Arc::new(CommittedMeanwhile {
        inner: Arc::clone(stored.catalog.store()),
        meanwhile: SyncMutex::default(),
    });
    let running = follow(Arc::clone(&store) as _).await;
    let before = assignment(&running, 11, "writer.billing").0;
    *store.meanwhile.lock().unwrap() = Some(serve(billing(), "green"));
    let moved = serve(orders(), "green");
    running.data_plane.publish(&moved).await.unwrap();
    running.catch_up(&stored).await;
    assert_ne!(assignment(&running, 11, "writer.billing").0, before);
}
