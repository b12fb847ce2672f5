//! The durable record of a migration.

mod facts;
mod learned;
mod not_proven;
mod plan;
mod server_watch;
mod target;
mod waiver;

use std::collections::{BTreeMap, BTreeSet};

use pointsman_catalog::{
    DatabaseName, ServerName, UnixMillis,
    store::record::{Format, Record},
};
use serde::{Deserialize, Serialize};

use crate::{
    machine::{Direction, LeftSource, Machine, Side, State},
    ports::ControlId,
};

pub use facts::{Facts, MissingFact};
pub(crate) use learned::Learned;
pub use not_proven::NotProven;
pub use plan::{PlannedDatabase, UnlistedDatabasePolicy};
pub use server_watch::{ServerSeen, ServerWatch};
pub use target::{AskedPromotion, Coverage, FencedTarget, Promotion, ReverseStream};
pub use waiver::Waiver;

/// One migration: the plan, where its machine stands, and the facts that its steps
/// gathered. Written whole with every journal entry.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Migration {
    pub name: String,
    pub source: ServerName,
    pub target: ServerName,
    pub databases: Vec<PlannedDatabase>,
    /// Policies, by `datname`.
    pub unlisted: BTreeMap<String, UnlistedDatabasePolicy>,
    /// What the operator accepted by name.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub waived: BTreeSet<Waiver>,
    /// Commits on the target wait for the source in the bake, so that no acknowledged write is on the
    /// target alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub durable_way_back: bool,
    pub machine: Machine,
    /// When a preflight last found nothing that blocks.
    pub preflight_passed: Option<UnixMillis>,
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

impl Record for Migration {
    const FORMAT: Format = Format(5);
}

impl Migration {
    /// Where its machine stands.
    pub fn state(&self) -> State {
        self.machine.state()
    }

    /// The server on `side`.
    pub fn server(&self, side: Side) -> &ServerName {
        match side {
            Side::Source => &self.source,
            Side::Target => &self.target,
        }
    }

    /// The databases that applications know by name.
    pub fn catalogued(&self) -> Vec<DatabaseName> {
        let databases = self.databases.iter();
        databases.map(|database| database.name.clone()).collect()
    }

    /// The PostgreSQL names of every database that moves, catalogued or not.
    pub fn moving(&self) -> Vec<String> {
        self.databases
            .iter()
            .map(|database| database.datname.clone())
            .chain(self.unlisted_that(UnlistedDatabasePolicy::Moves))
            .collect()
    }

    /// The PostgreSQL names of databases that stay closed until the migration is complete.
    pub fn staying_closed(&self) -> Vec<String> {
        self.unlisted_that(UnlistedDatabasePolicy::StaysClosed)
            .collect()
    }

    /// Whose sessions and fences are this migration's now.
    pub fn control(&self) -> ControlId {
        ControlId {
            migration: self.name.clone(),
            epoch: self.machine.epoch(),
        }
    }

    /// What others did on the source, as the record has it, where the machine has not heard of it: a
    /// rollback that was undone had given it up for itself alone.
    pub(crate) fn unheard_of_source(&self) -> Option<&ServerWatch> {
        let watch = self.facts.source_watch()?;
        let unheard = self.machine.left_source() == LeftSource::Quiet;
        Some(watch).filter(|watch| unheard && watch.is_disturbed())
    }

    /// Forgets what was true of the former attempt only.
    pub(crate) fn begin_switch(&mut self, direction: Direction) {
        self.facts.begin_switch(direction);
        if direction == Direction::Forward {
            self.cause = None;
        }
    }

    fn unlisted_that(&self, policy: UnlistedDatabasePolicy) -> impl Iterator<Item = String> {
        self.unlisted
            .iter()
            .filter(move |&(_, &found)| found == policy)
            .map(|(datname, _)| datname.clone())
    }
}

#[cfg(test)]
mod tests;
