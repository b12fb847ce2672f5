mod file;

use std::{fmt, path::Path, sync::Arc};

use async_trait::async_trait;
use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};
use tokio::{sync::watch, task::spawn_blocking};

use super::{Key, Precondition, Revision, Store, StoreError, Versioned, Write};
use file::{StoreFile, unavailable};

/// A store in one file, for a control plane that runs as one process.
///
/// Clones share the store. The file is closed when the last one is dropped.
#[derive(Clone)]
pub struct EmbeddedStore {
    file: Arc<StoreFile>,
}

impl EmbeddedStore {
    /// Creates a new store in the directory `dir`, which is created, too. Blocks on the disk.
    ///
    /// The file gets its name when it is complete, so a crash leaves no incomplete store. Only its owner
    /// can read it: it contains the control role's connection strings.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when there is a store already, [`StoreError::Unavailable`] when
    /// the directory cannot be written.
    pub fn create(dir: &Path) -> Result<Self, StoreError> {
        StoreFile::create(dir).map(Self::over)
    }

    /// Opens the store in `dir`. After a crash it has exactly what was committed. Blocks on the disk.
    ///
    /// # Errors
    /// [`StoreError::Missing`] without one, [`StoreError::Locked`] while another process
    /// has it, [`StoreError::Foreign`] for a file that is damaged or no store,
    /// [`StoreError::Unavailable`] when the disk or its permissions forbid it.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        StoreFile::open(dir).map(Self::over)
    }

    fn over(file: StoreFile) -> Self {
        Self {
            file: Arc::new(file),
        }
    }

    /// Runs `work` on a thread that may block on the disk.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&StoreFile) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let file = Arc::clone(&self.file);
        spawn_blocking(move || work(&file))
            .await
            .map_err(unavailable)?
    }
}

impl fmt::Debug for EmbeddedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedStore")
            .field("path", &self.file.path())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for EmbeddedStore {
    async fn get(&self, key: &Key) -> Result<Option<Versioned>, StoreError> {
        let key = key.clone();
        self.blocking(move |file| file.with(|database| get(database, &key)))
            .await
    }

    async fn range(&self, prefix: &str) -> Result<Vec<(Key, Versioned)>, StoreError> {
        let prefix = prefix.to_owned();
        self.blocking(move |file| file.with(|database| range(database, &prefix)))
            .await
    }

    async fn commit(&self, writes: Vec<Write>) -> Result<Revision, StoreError> {
        // Announced by the committing thread, so both happen even if the caller stops waiting.
        self.blocking(move |file| {
            let revision = file.with(|database| commit(database, &writes))?;
            file.announce(revision);
            Ok(revision)
        })
        .await
    }

    fn watch(&self) -> watch::Receiver<Revision> {
        self.file.watch()
    }
}

fn get(database: &Database, key: &Key) -> Result<Option<Versioned>, StoreError> {
    let read = database.begin_read().map_err(unavailable)?;
    let values = read.open_table(VALUES).map_err(unavailable)?;
    let stored = values.get(key.as_str()).map_err(unavailable)?;
    Ok(stored.map(|stored| versioned(stored.value())))
}

fn range(database: &Database, prefix: &str) -> Result<Vec<(Key, Versioned)>, StoreError> {
    let read = database.begin_read().map_err(unavailable)?;
    let values = read.open_table(VALUES).map_err(unavailable)?;
    let mut found = Vec::new();
    for entry in values.range(prefix..).map_err(unavailable)? {
        let (key, stored) = entry.map_err(unavailable)?;
        if !key.value().starts_with(prefix) {
            break;
        }
        found.push((Key::new(key.value()), versioned(stored.value())));
    }
    Ok(found)
}

/// A transaction that is dropped without a commit is aborted, so a failed precondition changes
/// nothing.
fn commit(database: &Database, writes: &[Write]) -> Result<Revision, StoreError> {
    let mut transaction = database.begin_write().map_err(unavailable)?;
    transaction
        .set_durability(Durability::Immediate)
        .map_err(unavailable)?;
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

/// Key to (revision that wrote it, value).
const VALUES: TableDefinition<'_, &str, (u64, &[u8])> = TableDefinition::new("values");
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const REVISION: &str = "revision";
