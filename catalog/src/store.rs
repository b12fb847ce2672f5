//! The port for all durable state, and its embedded implementation.

mod embedded;
mod format;
pub mod record;

use std::{collections::BTreeMap, fmt};

use async_trait::async_trait;
use tokio::sync::watch;

pub use embedded::EmbeddedStore;
use format::{Format, FoundFormat};

/// A slash-separated path, for example `routes/orders`.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Key(String);

impl Key {
    /// The key `path`.
    pub fn new(path: impl Into<String>) -> Self {
        Self(path.into())
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Counts commits of the whole store; each value carries the one that wrote it.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Revision(pub u64);

/// A value and the revision that wrote it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Versioned {
    pub value: Vec<u8>,
    pub revision: Revision,
}

/// The condition on a key under which its write, and with it the commit, takes place.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Precondition {
    /// Nothing.
    Any,
    /// The key does not exist.
    Absent,
    /// The key was last written at this revision.
    At(Revision),
}

/// One write of a commit; `value: None` deletes the key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Write {
    pub key: Key,
    pub value: Option<Vec<u8>>,
    pub when: Precondition,
}

/// What was written to a store, as of one revision.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Changes {
    /// Every commit up to this one is taken into account, and none after it.
    pub revision: Revision,
    /// Whether `values` is all that there is, rather than what was written.
    pub complete: bool,
    /// The newest value of each key; `None` if it was deleted.
    pub values: BTreeMap<Key, Option<Versioned>>,
}

/// Linearizable reads, and atomic commits that are durable when they return;
/// nothing weaker will do for a journal.
#[async_trait]
pub trait Store: fmt::Debug + Send + Sync {
    /// The value at `key`.
    async fn get(&self, key: &Key) -> Result<Option<Versioned>, StoreError>;

    /// All values whose key begins with `prefix`, in key order.
    async fn range(&self, prefix: &str) -> Result<Vec<(Key, Versioned)>, StoreError>;

    /// What was written under any of `prefixes` by the commits after `after`. No commit is seen
    /// in part. Without `after`, and when the store no longer knows what was written since,
    /// everything under the prefixes.
    async fn changes(
        &self,
        prefixes: &[&str],
        after: Option<Revision>,
    ) -> Result<Changes, StoreError>;

    /// Applies all of `writes`, in order, or none; returns the new revision of each.
    ///
    /// Dropping the future does not stop the commit.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] names the first key whose precondition did not hold. After
    /// [`StoreError::Unavailable`] it is unknown whether the commit took place: read before retrying.
    async fn commit(&self, writes: Vec<Write>) -> Result<Revision, StoreError>;

    /// How many bytes there is room for, as far as this process may use it.
    ///
    /// # Errors
    /// It could not be read.
    async fn room(&self) -> Result<u64, StoreError>;

    /// Reports the revision of the newest commit. A new watcher starts at the newest.
    fn watch(&self) -> watch::Receiver<Revision>;
}

/// Variants are what the caller does next.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Read again and decide again.
    #[error("{key} has moved on: a concurrent change was committed first")]
    Conflict { key: Key },
    /// Another process owns the store file: stop that one, or use its admin API.
    #[error(
        "store {path} is locked by another process: stop that pointsman, or use another --data-dir"
    )]
    Locked { path: String },
    /// Make a new one deliberately, or restore the old one.
    #[error(
        "store {path} does not exist: an empty registry would make every barrier true, so a \
         new store is only made when asked for (serve --init); if this control plane had one, \
         restore it, or read the fences left in the servers with `pointsman recover`"
    )]
    Missing { path: String },
    /// Open it instead of making one.
    #[error("there is a store at {path} already; serve without --init to use it")]
    Exists { path: String },
    /// Restore a backup; the file is not touched.
    #[error("{path} is damaged or no store of this program: {reason}; restore a copy of it")]
    Foreign { path: String, reason: String },
    /// Retry under the caller's deadline, or stop.
    #[error("the store failed")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Another version of this program wrote it: use that one, or a new store.
    #[error(
        "{key} is stored {found}, and this program reads format {known} only: go on with the \
         version of pointsman that wrote it, or let that version end its migrations and begin \
         with a new store (serve --init)"
    )]
    Format {
        key: Key,
        found: FoundFormat,
        known: Format,
    },
    /// A person must look.
    #[error("{key} does not decode")]
    Corrupt {
        key: Key,
        #[source]
        source: serde_json::Error,
    },
}
