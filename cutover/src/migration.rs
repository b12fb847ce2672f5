//! The durable record of a migration.

use std::collections::BTreeMap;

use pointsman_catalog::{DatabaseName, ServerName, UnixMillis};
use serde::{Deserialize, Serialize};

use crate::{
    Lsn,
    machine::State,
    ports::{Armed, ControlId, Exempt, FormerSettings, Marker, ReverseSlot},
};

/// A database that the migration moves and the catalogue serves.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct PlannedDatabase {
    pub name: DatabaseName,
    pub datname: String,
}

/// What becomes of a database on the server that the catalogue does not know.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// It moves like the others, with a reverse stream of its own.
    Moves,
    /// It is closed on both servers until the migration is complete.
    StaysClosed,
}

/// One migration: the plan, where its machine stands, and the facts that its steps
/// gathered. Written whole with every journal entry.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Migration {
    pub name: String,
    pub source: ServerName,
    pub target: ServerName,
    pub databases: Vec<PlannedDatabase>,
    pub fates: BTreeMap<String, Fate>,
    pub state: State,
    /// Grows with each leader, crash and abort.
    pub epoch: u64,
    /// When a preflight last found nothing that blocks.
    pub preflight_passed: Option<UnixMillis>,
    /// Counts the switches, from 1.
    pub switches: u32,
    pub facts: Facts,
    /// Why the last switch was undone, rolled back, or waits for an operator.
    pub cause: Option<String>,
    /// The newest journal entry: its number and hash.
    pub journal: JournalHead,
}

/// The end of the hash chain.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct JournalHead {
    pub entries: u64,
    pub hash: String,
}

/// What steps found out and later steps, an undo or another process need.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Facts {
    /// Shared by source and target.
    pub system_identifier: Option<String>,
    /// What WAL proofs do not count.
    pub exempt: Exempt,
    /// When the current switch began, and when its hold ends.
    pub began: UnixMillis,
    pub hold_until: Option<UnixMillis>,
    /// The reader routes before the first hold.
    pub former_readers: BTreeMap<DatabaseName, Vec<ServerName>>,
    /// An undo served readers elsewhere until their former endpoint lets them in again.
    #[serde(default)]
    pub readers_wait: bool,
    /// The closed source's former settings, until it is opened again.
    pub closed_source: Option<FormerSettings>,
    /// The same of the target, from a rollback's fence.
    pub closed_target: Option<FormerSettings>,
    pub source_timeline: u32,
    /// The current switch's fence marker; with the closed server's name, system
    /// identifier, timeline and the epoch it is the fence token.
    pub marker: Option<Marker>,
    /// Past it, on the target's clock, the guard of the promotion refuses.
    pub promote_deadline: Option<UnixMillis>,
    pub target_timeline: Option<u32>,
    /// Where the target's recovery ended.
    pub fork: Option<Lsn>,
    pub slots: Vec<ReverseSlot>,
    /// The target's position right before it was opened.
    pub opened: Option<Lsn>,
    /// The slots hold every write of the target since it was promoted.
    pub stream_complete: bool,
    pub armed: Option<Armed>,
    /// An operator accepted the loss of what the reverse stream does not deliver.
    pub accept_loss: bool,
    /// An operator asserted that the target is down for good.
    pub target_asserted_down: bool,
    /// An operator asserted that the source is down for good.
    #[serde(default)]
    pub source_asserted_down: bool,
    /// How many rollbacks of this bake were undone, and before when alarms start no other.
    #[serde(default)]
    pub rollbacks_undone: u32,
    #[serde(default)]
    pub no_automatic_rollback_before: Option<UnixMillis>,
    /// This leader has proved the source's fence since it took over. Never journalled: a
    /// new leader proves it anew before it promotes or opens anything.
    #[serde(skip)]
    pub fence_proved: bool,
}

impl Migration {
    /// The databases that applications know by name.
    pub fn catalogued(&self) -> Vec<DatabaseName> {
        let databases = self.databases.iter();
        databases.map(|database| database.name.clone()).collect()
    }

    /// The PostgreSQL names of every database that moves, catalogued or not.
    pub fn moving(&self) -> Vec<String> {
        let fated = self
            .fates
            .iter()
            .filter(|&(_, &fate)| fate == Fate::Moves)
            .map(|(datname, _)| datname.clone());
        self.databases
            .iter()
            .map(|database| database.datname.clone())
            .chain(fated)
            .collect()
    }

    /// The PostgreSQL names of databases that stay closed until the migration is complete.
    pub fn staying_closed(&self) -> Vec<String> {
        self.fates
            .iter()
            .filter(|&(_, &fate)| fate == Fate::StaysClosed)
            .map(|(datname, _)| datname.clone())
            .collect()
    }

    /// Whose sessions and fences are this migration's now.
    pub fn control(&self) -> ControlId {
        ControlId {
            migration: self.name.clone(),
            epoch: self.epoch,
        }
    }
}
