use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition};
use tokio::{sync::watch, task::spawn_blocking};

use super::{Key, Precondition, Revision, Store, StoreError, Versioned, Write};

/// One file, no server: the whole state of a control plane that runs as one process.
#[derive(Clone)]
pub struct EmbeddedStore {
    database: Arc<Database>,
    path: PathBuf,
    committed: watch::Sender<Revision>,
}

impl EmbeddedStore {
    /// Makes a new store in the directory `dir`, which is made as well.
    ///
    /// # Errors
    /// When there is a store already, or the directory cannot be written.
    pub fn create(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join(FILE);
        if path.exists() {
            return Err(StoreError::Exists {
                path: path.display().to_string(),
            });
        }
        std::fs::create_dir_all(dir).map_err(unavailable)?;
        let database = Database::create(&path).map_err(|error| refused(error, &path))?;
        let write = database.begin_write().map_err(unavailable)?;
        write.open_table(VALUES).map_err(unavailable)?;
        write
            .open_table(META)
            .map_err(unavailable)?
            .insert(REVISION, 0)
            .map_err(unavailable)?;
        write.commit().map_err(unavailable)?;
        Ok(Self::over(database, path, Revision(0)))
    }

    /// Opens the store in `dir`.
    ///
    /// # Errors
    /// [`StoreError::Missing`] without one, [`StoreError::Locked`] while another process
    /// has it, [`StoreError::Foreign`] for a file that is damaged or no store.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join(FILE);
        if !path.exists() {
            return Err(StoreError::Missing {
                path: path.display().to_string(),
            });
        }
        let database = Database::open(&path).map_err(|error| refused(error, &path))?;
        let read = database.begin_read().map_err(unavailable)?;
        let revision = read
            .open_table(META)
            .and_then(|meta| Ok(meta.get(REVISION)?.map(|revision| revision.value())))
            .map_err(|error| StoreError::Foreign {
                path: path.display().to_string(),
                words: error.to_string(),
            })?;
        Ok(Self::over(
            database,
            path,
            Revision(revision.unwrap_or_default()),
        ))
    }

    fn over(database: Database, path: PathBuf, revision: Revision) -> Self {
        Self {
            database: Arc::new(database),
            path,
            committed: watch::channel(revision).0,
        }
    }

    /// Runs `work` on a thread that may block on the disk.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let database = Arc::clone(&self.database);
        spawn_blocking(move || work(&database))
            .await
            .map_err(unavailable)?
    }
}

impl std::fmt::Debug for EmbeddedStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbeddedStore")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for EmbeddedStore {
    async fn get(&self, key: &Key) -> Result<Option<Versioned>, StoreError> {
        let key = key.clone();
        self.blocking(move |database| {
            let read = database.begin_read().map_err(unavailable)?;
            let values = read.open_table(VALUES).map_err(unavailable)?;
            let stored = values.get(key.as_str()).map_err(unavailable)?;
            Ok(stored.map(|stored| versioned(stored.value())))
        })
        .await
    }

    async fn range(&self, prefix: &str) -> Result<Vec<(Key, Versioned)>, StoreError> {
        let prefix = prefix.to_owned();
        self.blocking(move |database| {
            let read = database.begin_read().map_err(unavailable)?;
            let values = read.open_table(VALUES).map_err(unavailable)?;
            let mut found = Vec::new();
            for entry in values.range(prefix.as_str()..).map_err(unavailable)? {
                let (key, stored) = entry.map_err(unavailable)?;
                if !key.value().starts_with(&prefix) {
                    break;
                }
                found.push((Key::new(key.value()), versioned(stored.value())));
            }
            Ok(found)
        })
        .await
    }

    async fn commit(&self, writes: Vec<Write>) -> Result<Revision, StoreError> {
        let revision = self
            .blocking(move |database| commit(database, &writes))
            .await?;
        self.committed
            .send_if_modified(|seen| std::mem::replace(seen, revision.max(*seen)) < revision);
        Ok(revision)
    }

    fn watch(&self) -> watch::Receiver<Revision> {
        self.committed.subscribe()
    }
}

/// Dropping the transaction without committing it aborts it, so a failed precondition
/// leaves nothing behind.
fn commit(database: &Database, writes: &[Write]) -> Result<Revision, StoreError> {
    let transaction = database.begin_write().map_err(unavailable)?;
    let revision;
    {
        let mut meta = transaction.open_table(META).map_err(unavailable)?;
        let last = meta
            .get(REVISION)
            .map_err(unavailable)?
            .map_or(0, |revision| revision.value());
        revision = last + 1;
        meta.insert(REVISION, revision).map_err(unavailable)?;
        let mut values = transaction.open_table(VALUES).map_err(unavailable)?;
        for write in writes {
            let key = write.key.as_str();
            let found = values
                .get(key)
                .map_err(unavailable)?
                .map(|stored| Revision(stored.value().0));
            let holds = match write.when {
                Precondition::Any => true,
                Precondition::Absent => found.is_none(),
                Precondition::At(at) => found == Some(at),
            };
            if !holds {
                return Err(StoreError::Conflict {
                    key: write.key.clone(),
                });
            }
            match &write.value {
                Some(value) => values.insert(key, (revision, value.as_slice())),
                None => values.remove(key),
            }
            .map_err(unavailable)?;
        }
    }
    transaction.commit().map_err(unavailable)?;
    Ok(Revision(revision))
}

fn versioned((revision, value): (u64, &[u8])) -> Versioned {
    Versioned {
        value: value.to_vec(),
        revision: Revision(revision),
    }
}

fn refused(error: DatabaseError, path: &Path) -> StoreError {
    let path = path.display().to_string();
    match error {
        DatabaseError::DatabaseAlreadyOpen => StoreError::Locked { path },
        DatabaseError::Storage(redb::StorageError::Io(error))
            if error.kind() == io::ErrorKind::PermissionDenied =>
        {
            StoreError::Unavailable(Box::new(error))
        }
        other => StoreError::Foreign {
            path,
            words: other.to_string(),
        },
    }
}

fn unavailable(error: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Unavailable(Box::new(error))
}

const FILE: &str = "pointsman.redb";
/// Key to (revision that wrote it, value).
const VALUES: TableDefinition<'_, &str, (u64, &[u8])> = TableDefinition::new("values");
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const REVISION: &str = "revision";
