//! The record of each step: intent before, evidence after, chained by hash.

mod entry;
mod replay;

use std::{sync::Arc, time::Duration};

use pointsman_catalog::{
    Chain, Store,
    store::{
        Key, Precondition, Revision, StoreError, Versioned, Write,
        record::{decode, encode},
    },
};
use serde::Serialize;
use sha2::{Digest, Sha256};
use tracing::warn;

pub use self::{
    entry::{Entry, EntryKind, Happened, Line},
    replay::{Replay, Verdict, Violation, replay},
};
use crate::{migration::Migration, ports::Clock};

/// The journals of all migrations in one store.
#[derive(Clone, Debug)]
pub struct Journal {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
}

/// A migration as it is in the store, with the revision of its record.
#[derive(Debug)]
pub struct Stored {
    pub name: String,
    /// What is there may be of another version of this program, or damaged.
    pub record: Result<(Migration, Revision), StoreError>,
}

/// Why the record could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Another leader drives this migration: stop.
    #[error("migration {0} was changed by another leader")]
    Superseded(String),
    #[error("there is a migration {0} already")]
    Exists(String),
    #[error("the journal could not be written")]
    Store(#[from] StoreError),
    /// Nothing was written.
    #[error("entry {number} of migration {name} has no JSON, which its hash is taken of")]
    NoHash {
        name: String,
        number: u64,
        #[source]
        source: serde_json::Error,
    },
    /// A person must look: the record was altered or damaged.
    #[error(
        "entry {number} of migration {name} does not match its hash: the record was altered or damaged; \
         restore a copy of the store"
    )]
    Broken { name: String, number: u64 },
    #[error("there is no record of migration {0} in the store any more")]
    Gone(String),
    #[error("the record of migration {0} changed each time that it was read; try again")]
    Busy(String),
}

impl Journal {
    /// Journals in `store`.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock }
    }

    /// Writes a new migration.
    pub async fn create(&self, migration: &Migration) -> Result<Revision, JournalError> {
        let key = record_key(&migration.name);
        let write = Write {
            value: Some(encode(&key, migration)?),
            key,
            when: Precondition::Absent,
        };
        match self.store.commit(vec![write]).await {
            Err(StoreError::Conflict { .. }) => Err(JournalError::Exists(migration.name.clone())),
            other => Ok(other?),
        }
    }

    /// Writes the record and `lines` in one commit that is durable when this returns.
    /// `at` is the revision of the record as this leader knows it. `failing` is told why, each
    /// time that the store fails.
    pub async fn append(
        &self,
        migration: &mut Migration,
        at: Revision,
        lines: Vec<Line>,
        failing: impl FnMut(&StoreError) + Send,
    ) -> Result<(Revision, Vec<Entry>), JournalError> {
        let mut writes = Vec::with_capacity(lines.len() + 1);
        let mut entries = Vec::with_capacity(lines.len());
        for line in lines {
            let entry = chain(migration, line)?;
            let key = entry_key(&migration.name, entry.number);
            writes.push(Write {
                value: Some(encode(&key, &entry)?),
                key,
                when: Precondition::Absent,
            });
            entries.push(entry);
        }
        let key = record_key(&migration.name);
        writes.push(Write {
            value: Some(encode(&key, migration)?),
            key,
            when: Precondition::At(at),
        });
        let revision = self.commit(&migration.name, writes, failing).await?;
        Ok((revision, entries))
    }

    /// Tries again while the store fails: a switch must not stop behind its fence for a disk
    /// that was full for a moment. After a failure nobody knows whether the commit happened; a
    /// record that is what was to be written says that it did.
    async fn commit(
        &self,
        name: &str,
        writes: Vec<Write>,
        mut failing: impl FnMut(&StoreError) + Send,
    ) -> Result<Revision, JournalError> {
        let mut left = ATTEMPTS;
        loop {
            let failed = match self.attempt(name, &writes, left < ATTEMPTS).await {
                Err(JournalError::Store(failed)) => failed,
                ended => return ended,
            };
            left -= 1;
            if left == 0 {
                return Err(failed.into());
            }
            warn!(migration = %name, "the journal is written again: {}", Chain(&failed));
            failing(&failed);
            self.clock.sleep(RETRY).await;
        }
    }

    async fn attempt(
        &self,
        name: &str,
        writes: &[Write],
        failed_before: bool,
    ) -> Result<Revision, JournalError> {
        match self.store.commit(writes.to_vec()).await {
            Err(StoreError::Conflict { .. }) => {
                let written = match failed_before {
                    true => self.written(writes).await?,
                    false => None,
                };
                written.ok_or_else(|| JournalError::Superseded(name.to_owned()))
            }
            other => Ok(other?),
        }
    }

    async fn written(&self, writes: &[Write]) -> Result<Option<Revision>, StoreError> {
        let Some(record) = writes.last() else {
            return Ok(None);
        };
        let stored = self.store.get(&record.key).await?;
        Ok(stored
            .filter(|stored| Some(&stored.value) == record.value.as_ref())
            .map(|stored| stored.revision))
    }

    /// Every migration.
    ///
    /// # Errors
    /// The store cannot be read. A record that cannot be read alone is an error of its own.
    pub async fn migrations(&self) -> Result<Vec<Stored>, JournalError> {
        let stored = self.store.range(RECORDS).await?.into_iter();
        let one = |(key, versioned): (Key, Versioned)| Stored {
            name: key.as_str().trim_start_matches(RECORDS).to_owned(),
            record: decode(&key, &versioned.value).map(|record| (record, versioned.revision)),
        };
        Ok(stored.map(one).collect())
    }

    /// The record of migration `name`, with its revision.
    pub async fn migration(&self, name: &str) -> Result<(Migration, Revision), JournalError> {
        let key = record_key(name);
        let stored = self.store.get(&key).await?;
        let stored = stored.ok_or_else(|| JournalError::Gone(name.to_owned()))?;
        Ok((decode(&key, &stored.value)?, stored.revision))
    }

    /// Whether the machine allows what is on record of migration `name`. A record that a driver
    /// changes meanwhile is read again.
    ///
    /// # Errors
    /// It cannot be read, or it changes all the time.
    pub async fn replay(&self, name: &str) -> Result<Replay, JournalError> {
        for _ in 0..READS {
            let (_, before) = self.migration(name).await?;
            let entries = match self.entries(name).await {
                Ok(entries) => entries,
                Err(JournalError::Broken { number, .. }) => return Ok(Replay::broken(number)),
                Err(error) => return Err(error),
            };
            let (migration, after) = self.migration(name).await?;
            if before == after {
                return Ok(replay(&entries, migration.machine));
            }
        }
        Err(JournalError::Busy(name.to_owned()))
    }

    /// The entries of a migration, oldest first, with the hash chain verified.
    pub async fn entries(&self, name: &str) -> Result<Vec<Entry>, JournalError> {
        let mut entries: Vec<Entry> = Vec::new();
        for (key, versioned) in self.store.range(&format!("{ENTRIES}{name}/")).await? {
            let entry: Entry = decode(&key, &versioned.value)?;
            let previous = entries.last().map_or("", |last| last.hash.as_str());
            let hash = hash(name, &entry)?;
            if entry.previous != previous || entry.hash != hash {
                return Err(JournalError::Broken {
                    name: name.to_owned(),
                    number: entry.number,
                });
            }
            entries.push(entry);
        }
        Ok(entries)
    }
}

fn chain(migration: &mut Migration, line: Line) -> Result<Entry, JournalError> {
    let head = &migration.journal;
    let mut entry = Entry {
        number: head.entries + 1,
        switch: migration.machine.switches(),
        epoch: migration.machine.epoch(),
        at: line.at,
        offset_us: line.offset_us,
        took_us: line.took_us,
        step: line.step,
        kind: line.kind,
        message: line.message,
        evidence: line.evidence,
        happened: line.happened,
        previous: head.hash.clone(),
        hash: String::new(),
    };
    entry.hash = hash(&migration.name, &entry)?;
    let head = &mut migration.journal;
    head.entries = entry.number;
    head.hash.clone_from(&entry.hash);
    Ok(entry)
}

fn hash(name: &str, entry: &Entry) -> Result<String, JournalError> {
    let bare = Entry {
        hash: String::new(),
        ..entry.clone()
    };
    digest(&bare).map_err(|source| JournalError::NoHash {
        name: name.to_owned(),
        number: entry.number,
        source,
    })
}

/// SHA-256 of the JSON of `record`, in hexadecimal.
fn digest(record: &impl Serialize) -> Result<String, serde_json::Error> {
    let text = serde_json::to_vec(record)?;
    let bytes = Sha256::digest(&text);
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn record_key(name: &str) -> Key {
    Key::new(format!("{RECORDS}{name}"))
}

/// Numbers are padded so that key order is entry order.
fn entry_key(name: &str, number: u64) -> Key {
    Key::new(format!("{ENTRIES}{name}/{number:010}"))
}

/// Five seconds in all: half of a hold.
const ATTEMPTS: u32 = 10;
const RETRY: Duration = Duration::from_millis(500);
/// A driver writes a few times in a switch and then rests.
const READS: u32 = 20;
const RECORDS: &str = "migrations/";
const ENTRIES: &str = "journal/";

#[cfg(test)]
mod tests {
    use pointsman_catalog::UnixMillis;

    use super::*;
    use crate::machine::{Event, Machine};

    fn entry() -> Entry {
        Entry {
            number: 1,
            switch: 1,
            epoch: 2,
            at: UnixMillis(1_000),
            offset_us: 10,
            took_us: 5,
            step: "hold".to_owned(),
            kind: EntryKind::Done,
            message: "2 sidecars acknowledged".to_owned(),
            evidence: serde_json::json!({ "sequence": 3 }),
            happened: None,
            previous: String::new(),
            hash: "abc".to_owned(),
        }
    }

    /// What is in the stores of running control planes; another form needs another format
    /// number.
    #[test]
    fn the_stored_form_of_an_entry_is_pinned() {
        let key = entry_key("m", 1);
        assert_eq!(key.as_str(), "journal/m/0000000001");
        let stored = encode(&key, &entry()).unwrap();
        assert_eq!(
            String::from_utf8(stored).unwrap(),
            concat!(
                r#"{"format":1,"record":{"number":1,"switch":1,"epoch":2,"at":1000,"offset_us":10,"#,
                r#""took_us":5,"step":"hold","kind":"done","message":"2 sidecars acknowledged","#,
                r#""evidence":{"sequence":3},"previous":"","hash":"abc"}}"#
            )
        );
    }

    #[test]
    fn the_stored_form_of_an_event_is_pinned() {
        let happened = Happened {
            event: Event::StartRequested,
            at: UnixMillis(1_001),
            machine: Machine::planned(),
        };
        assert_eq!(
            serde_json::to_string(&happened).unwrap(),
            concat!(
                r#"{"event":"start_requested","at":1001,"machine":{"state":{"phase":"planned"},"#,
                r#""epoch":1,"switches":0,"assertion":null,"alarm_backoff":null,"#,
                r#""readers":"settled","fence_proof":"owed","promotion_awaited_since":null,"#,
                r#""left_source":"quiet"}}"#
            )
        );
    }

    #[test]
    fn an_entry_of_another_format_is_refused_by_its_key() {
        let key = entry_key("m", 1);
        let read = decode::<Entry>(&key, br#"{"number":1,"words":"an older one"}"#);
        let refused = read.unwrap_err().to_string();
        assert!(
            refused.starts_with(
                "journal/m/0000000001 is stored without a format number, and this program reads \
                 format 1 only"
            ),
            "{refused}"
        );
    }

    #[test]
    fn an_entry_that_was_altered_does_not_match_its_hash() {
        let mut altered = entry();
        altered.hash = hash("m", &altered).unwrap();
        assert_eq!(hash("m", &altered).unwrap(), altered.hash);
        altered.message.push('!');
        assert_ne!(hash("m", &altered).unwrap(), altered.hash);
    }

    #[test]
    fn what_has_no_json_has_no_hash() {
        let unwritable = std::collections::BTreeMap::from([((1, 2), 3)]);
        let error = digest(&unwritable).unwrap_err();
        assert!(
            error.to_string().contains("key must be a string"),
            "{error}"
        );
    }
}
