mod change_log;
mod file;

use std::{collections::BTreeMap, fmt, path::Path, sync::Arc};

use async_trait::async_trait;
use redb::{Database, Durability, ReadableDatabase, ReadableTable};
use tokio::{sync::watch, task::spawn_blocking};

use super::{Changes, Key, Precondition, Revision, Store, StoreError, Versioned, Write};
use change_log::ChangeLog;
use file::{META, REVISION, StoreFile, VALUES, unavailable};

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

    async fn changes(
        &self,
        prefixes: &[&str],
        after: Option<Revision>,
    ) -> Result<Changes, StoreError> {
        let prefixes: Vec<_> = prefixes.iter().map(|&prefix| prefix.to_owned()).collect();
        self.blocking(move |file| {
            file.with(|database| changes(database, file.change_log(), &prefixes, after))
        })
        .await
    }

    async fn commit(&self, writes: Vec<Write>) -> Result<Revision, StoreError> {
        // Announced by the committing thread, so both happen even if the caller stops waiting.
        self.blocking(move |file| {
            let revision = file.with(|database| commit(database, &writes, file.change_log()))?;
            file.announce(revision);
            Ok(revision)
        })
        .await
    }

    async fn room(&self) -> Result<u64, StoreError> {
        self.blocking(StoreFile::room).await
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
    range_of(&values, prefix)
}

fn range_of(
    values: &impl ReadableTable<&'static str, (u64, &'static [u8])>,
    prefix: &str,
) -> Result<Vec<(Key, Versioned)>, StoreError> {
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

/// One transaction reads the revision and the values, so that no commit is seen in part.
fn changes(
    database: &Database,
    log: &ChangeLog,
    prefixes: &[String],
    after: Option<Revision>,
) -> Result<Changes, StoreError> {
    let read = database.begin_read().map_err(unavailable)?;
    let meta = read.open_table(META).map_err(unavailable)?;
    let last = meta.get(REVISION).map_err(unavailable)?;
    let revision = Revision(last.map_or(0, |last| last.value()));
    let values = read.open_table(VALUES).map_err(unavailable)?;
    let mut found = BTreeMap::new();
    let written = after.and_then(|after| log.written(after, revision));
    let complete = written.is_none();
    match written {
        None => {
            for prefix in prefixes {
                let all = range_of(&values, prefix)?.into_iter();
                found.extend(all.map(|(key, value)| (key, Some(value))));
            }
        }
        Some(written) => {
            let asked = |key: &Key| prefixes.iter().any(|prefix| key.0.starts_with(prefix));
            for key in written.into_iter().filter(asked) {
                let stored = values.get(key.as_str()).map_err(unavailable)?;
                let value = stored.map(|stored| versioned(stored.value()));
                found.insert(key, value);
            }
        }
    }
    Ok(Changes {
        revision,
        complete,
        values: found,
    })
}

/// Dropping the transaction without committing it aborts it, so a failed precondition
/// leaves nothing behind.
fn commit(database: &Database, writes: &[Write], log: &ChangeLog) -> Result<Revision, StoreError> {
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
    let revision = Revision(revision);
    log.record(
        revision,
        writes.iter().map(|write| write.key.clone()).collect(),
    );
    transaction.commit().map_err(unavailable)?;
    Ok(revision)
}

fn versioned((revision, value): (u64, &[u8])) -> Versioned {
    Versioned {
        value: value.to_vec(),
        revision: Revision(revision),
    }
}
