//! The store's file: created, opened, and reopened after a failure of the disk.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    process,
    sync::{
        PoisonError, RwLock, RwLockWriteGuard,
        atomic::{AtomicU64, Ordering},
    },
};

use redb::{
    Builder, Database, DatabaseError, ReadableDatabase, StorageError, TableDefinition,
    backends::FileBackend,
};
use tokio::sync::watch;

use super::change_log::ChangeLog;
use crate::store::{Revision, StoreError};

/// The store's file. It is closed after a failure of the disk, until it is reopened.
pub(super) struct StoreFile {
    path: PathBuf,
    database: RwLock<Option<Database>>,
    committed: watch::Sender<Revision>,
    change_log: ChangeLog,
}

impl StoreFile {
    pub(super) fn create(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join(FILE);
        if path.try_exists().map_err(|error| failed(&error, &path))? {
            return Err(exists(&path));
        }
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(|error| failed(&error, dir))?;
        let number = DRAFTS.fetch_add(1, Ordering::Relaxed);
        let draft = dir.join(format!("{FILE}.{}-{number}", process::id()));
        let made = make(&draft, &path);
        // The draft is either linked under the store's name now, or useless.
        fs::remove_file(&draft).ok();
        let database = made?;
        File::open(dir)
            .and_then(|dir| dir.sync_all())
            .map_err(|error| failed(&error, dir))?;
        Ok(Self::over(path, database, Revision(0)))
    }

    pub(super) fn open(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join(FILE);
        if !path.try_exists().map_err(|error| failed(&error, &path))? {
            return Err(StoreError::Missing {
                path: path.display().to_string(),
            });
        }
        let (database, revision) = load(&path)?;
        Ok(Self::over(path, database, revision))
    }

    fn over(path: PathBuf, database: Database, revision: Revision) -> Self {
        Self {
            path,
            database: RwLock::new(Some(database)),
            committed: watch::channel(revision).0,
            change_log: ChangeLog::new(revision),
        }
    }

    /// Runs `work`, which may block.
    ///
    /// After a failure of the disk redb refuses every write until the file is reopened. Only then it is
    /// known whether the failed commit took place. A failure therefore reopens the file, immediately or,
    /// if that fails too, before the next use.
    pub(super) fn with<T>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let outcome = loop {
            let open = self.database.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(database) = &*open {
                break work(database);
            }
            drop(open);
            let mut slot = self.slot();
            if slot.is_none() {
                self.reopen(&mut slot)?;
            }
        };
        if matches!(outcome, Err(StoreError::Unavailable(_))) {
            // The caller gets the failure of `work`.
            self.reopen(&mut self.slot()).ok();
        }
        outcome
    }

    /// Announces `revision` to watchers, unless they have seen a newer one.
    pub(super) fn announce(&self, revision: Revision) {
        self.committed.send_if_modified(|seen| {
            let newer = *seen < revision;
            *seen = revision.max(*seen);
            newer
        });
    }

    pub(super) fn watch(&self) -> watch::Receiver<Revision> {
        self.committed.subscribe()
    }

    /// The bytes that are free on the file's disk for who is not root.
    pub(super) fn room(&self) -> Result<u64, StoreError> {
        let disk =
            rustix::fs::statvfs(&self.path).map_err(|error| failed(&error.into(), &self.path))?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    pub(super) fn change_log(&self) -> &ChangeLog {
        &self.change_log
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn slot(&self) -> RwLockWriteGuard<'_, Option<Database>> {
        self.database
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes the file before it reopens it: a file can be open once only.
    fn reopen(&self, slot: &mut Option<Database>) -> Result<(), StoreError> {
        drop(slot.take());
        let (database, revision) = load(&self.path)?;
        *slot = Some(database);
        self.announce(revision);
        Ok(())
    }
}

/// Creates an empty store at `draft`, then links it as `path`, unless that exists.
fn make(draft: &Path, path: &Path) -> Result<Database, StoreError> {
    // A process with the same id that died here may have left one.
    fs::remove_file(draft).ok();
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(draft)
        .map_err(|error| failed(&error, draft))?;
    let database = FileBackend::new(file)
        .and_then(|file| builder().create_with_backend(file))
        .map_err(|error| refused(error, draft))?;
    let transaction = database.begin_write().map_err(unavailable)?;
    transaction.open_table(VALUES).map_err(unavailable)?;
    transaction
        .open_table(META)
        .map_err(unavailable)?
        .insert(REVISION, 0)
        .map_err(unavailable)?;
    transaction.commit().map_err(unavailable)?;
    match fs::hard_link(draft, path) {
        Ok(()) => Ok(database),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(exists(path)),
        Err(error) => Err(failed(&error, path)),
    }
}

/// Opens the store at `path`, with the revision it has reached.
fn load(path: &Path) -> Result<(Database, Revision), StoreError> {
    let database = builder().open(path).map_err(|error| refused(error, path))?;
    let read = database.begin_read().map_err(unavailable)?;
    let revision = read
        .open_table(VALUES)
        .and_then(|_| read.open_table(META))
        .and_then(|meta| Ok(meta.get(REVISION)?.map(|revision| revision.value())))
        .map_err(|error| foreign(path, &error))?
        .ok_or_else(|| foreign(path, &"it counts no revisions"))?;
    read.close().map_err(unavailable)?;
    Ok((database, Revision(revision)))
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder
        .set_cache_size(CACHE_BYTES)
        // Without it a damaged file is trusted, and redb panics when it reads the damage.
        .set_check_integrity_on_open(true);
    builder
}

fn exists(path: &Path) -> StoreError {
    StoreError::Exists {
        path: path.display().to_string(),
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "every other error means that the file itself is unusable"
)]
fn refused(error: DatabaseError, path: &Path) -> StoreError {
    match error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => {
            StoreError::Locked {
                path: path.display().to_string(),
            }
        }
        DatabaseError::Storage(StorageError::Io(error))
            if !matches!(
                error.kind(),
                io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
            ) =>
        {
            failed(&error, path)
        }
        other => foreign(path, &other),
    }
}

fn foreign(path: &Path, reason: &dyn fmt::Display) -> StoreError {
    StoreError::Foreign {
        path: path.display().to_string(),
        reason: reason.to_string(),
    }
}

fn failed(error: &io::Error, path: &Path) -> StoreError {
    unavailable(io::Error::new(
        error.kind(),
        format!("{}: {error}", path.display()),
    ))
}

pub(super) fn unavailable(error: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Unavailable(Box::new(error))
}

const FILE: &str = "pointsman.redb";
/// Makes the drafts of one process distinct.
static DRAFTS: AtomicU64 = AtomicU64::new(0);
/// Several times the size of a large fleet's state. redb's default is 1 GiB.
const CACHE_BYTES: usize = 32 << 20;

/// Key to (revision that wrote it, value).
pub(super) const VALUES: TableDefinition<'_, &str, (u64, &[u8])> = TableDefinition::new("values");
pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
pub(super) const REVISION: &str = "revision";
