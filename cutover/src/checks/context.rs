use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use pointsman_catalog::{DatabaseName, NodeId, Server, ServerName};
use serde::{Deserialize, Serialize};

use crate::{
    migration::{PlannedDatabase, UnlistedDatabasePolicy, Waiver},
    ports::{Budgets, Clock, Inspector, Membership, PromotionOutlook, Reached},
};

/// Everything that a preflight looks at.
#[derive(Clone, Copy, Debug)]
pub struct CheckContext<'a> {
    pub clock: &'a dyn Clock,
    pub source: &'a Server,
    pub target: &'a Server,
    pub on_source: &'a dyn Inspector,
    pub on_target: &'a dyn Inspector,
    /// What the migration moves and the catalogue serves.
    pub databases: &'a [PlannedDatabase],
    /// What the operator decided about other databases of the source, by `datname`.
    pub unlisted: &'a BTreeMap<String, UnlistedDatabasePolicy>,
    /// What the operator accepted by name.
    pub waived: &'a BTreeSet<Waiver>,
    /// Every database whose writer is the source, as the catalogue has it now.
    pub catalogued: &'a [PlannedDatabase],
    /// Where the reader routes of [`Self::databases`] point.
    pub readers: &'a BTreeMap<DatabaseName, Vec<ServerName>>,
    /// The fleet, or why it could not be read.
    pub membership: &'a Result<Membership, String>,
    /// The bytes that are free for the journal, or why that could not be read.
    pub journal_room: &'a Result<u64, String>,
    /// What each registered sidecar says of trying the target.
    pub reached: &'a BTreeMap<NodeId, Reached>,
    /// What is known of the target's promotion by an API; `None`: SQL promotes it.
    pub promotion_by_api: Option<PromotionOutlook>,
    /// How long the target may take for what it is asked.
    pub target_budgets: Budgets,
    /// How long new connections are parked at most.
    pub hold: Duration,
    /// The operator gives up the lossless way back.
    pub accept_loss: bool,
    /// Commits on the target are to wait for the source in the bake.
    pub durable_way_back: bool,
    pub moment: Moment,
    /// How long the switch is going to be watched before it is completed.
    pub bake: Duration,
}

/// When the checks run. All of them run each time; what must exist grows.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Moment {
    /// When an operator asks for it.
    Pre,
    /// Inside the switch, before the hold.
    Switch,
}

impl CheckContext<'_> {
    /// Whether the operator accepted the check `id`, or `object` of it.
    pub(crate) fn waives(&self, id: &str, object: Option<&str>) -> bool {
        self.waived.iter().any(|waiver| waiver.covers(id, object))
    }

    /// The PostgreSQL names of every database that moves, catalogued or not.
    pub(crate) fn moving(&self) -> Vec<&str> {
        let unlisted = self.unlisted_that(UnlistedDatabasePolicy::Moves);
        let mut moving: Vec<_> = self
            .databases
            .iter()
            .map(|database| database.datname.as_str())
            .chain(unlisted)
            .collect();
        moving.sort_unstable();
        moving.dedup();
        moving
    }

    /// The PostgreSQL names of databases that stay closed until completion.
    pub(crate) fn staying_closed(&self) -> Vec<&str> {
        self.unlisted_that(UnlistedDatabasePolicy::StaysClosed)
            .collect()
    }

    fn unlisted_that(&self, wanted: UnlistedDatabasePolicy) -> impl Iterator<Item = &str> {
        self.unlisted
            .iter()
            .filter(move |&(_, &policy)| policy == wanted)
            .map(|(datname, _)| datname.as_str())
    }
}
