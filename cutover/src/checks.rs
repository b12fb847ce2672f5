//! What must hold before a switch. A check reads and judges; it changes nothing.
//!
//! - What cannot be read is [`Outcome::Unknown`], which counts as the check's severity
//!   and never as a pass.
//! - Each check gives one finding per place (a server, or a database on it); the objects
//!   that it found are the finding's evidence.
//! - A check that guards only the lossless way back turns from a block into a warning
//!   when the operator accepts the loss.
//!
//! The SQL of each check stands beside the pure function that judges its rows.
//! `docs/preflight.md` lists all of them for operators.

mod check;
mod control;
mod databases;
mod fence;
mod fleet;
mod identity;
mod partitions;
mod place;
mod readers;
mod replica;
mod report;
mod reverse;
mod room;
mod source;
mod synchronous;
mod writers;

use std::{collections::BTreeMap, time::Duration};

use futures_util::{
    StreamExt,
    future::{BoxFuture, join_all},
    stream,
};
use pointsman_catalog::{DatabaseName, NodeId, Server, ServerName, UnixMillis};
use serde::{Deserialize, Serialize};

use crate::{
    migration::{PlannedDatabase, UnlistedDatabasePolicy},
    ports::{Inspector, Membership, Reached},
};
use check::Check;

pub use report::{Finding, Outcome, Report, Severity, Verdict};

/// Everything that a preflight looks at.
#[derive(Clone, Copy, Debug)]
pub struct CheckContext<'a> {
    pub source: &'a Server,
    pub target: &'a Server,
    pub on_source: &'a dyn Inspector,
    pub on_target: &'a dyn Inspector,
    /// What the migration moves and the catalogue serves.
    pub databases: &'a [PlannedDatabase],
    /// What the operator decided about other databases of the source, by `datname`.
    pub fates: &'a BTreeMap<String, UnlistedDatabasePolicy>,
    /// Every database whose writer is the source, as the catalogue has it now.
    pub catalogued: &'a [PlannedDatabase],
    /// Where the reader routes of [`Self::databases`] point.
    pub readers: &'a BTreeMap<DatabaseName, Vec<ServerName>>,
    /// Logical slots of the source whose consumers the switch hands over.
    pub planned_slots: &'a [String],
    /// The fleet, or why it could not be read.
    pub membership: &'a Result<Membership, String>,
    /// What each registered sidecar says of trying the target.
    pub reached: &'a BTreeMap<NodeId, Reached>,
    /// What the control plane knows of itself.
    pub control: &'a ControlPlane,
    /// The operator gives up the lossless way back.
    pub accept_loss: bool,
    pub moment: Moment,
    /// How long the switch is going to be watched before it is completed.
    pub bake: Duration,
}

/// When the checks run. All of them run each time; what must exist grows.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Moment {
    /// Before the migration is started; good for 24 h.
    Pre,
    /// Before people commit to a time; good for 60 min.
    Arm,
    /// Inside the switch, before the hold.
    Switch,
}

/// What the control plane knows of itself.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ControlPlane {
    /// How long the last synced journal write took; `None` where nobody measured it.
    pub journal_sync: Option<Duration>,
    /// Why this process may not drive, if so.
    pub lease_lost: Option<String>,
}

impl CheckContext<'_> {
    /// The PostgreSQL names of every database that moves, catalogued or not.
    fn moving(&self) -> Vec<&str> {
        let fated = self
            .fates
            .iter()
            .filter(|&(_, &fate)| fate == UnlistedDatabasePolicy::Moves)
            .map(|(datname, _)| datname.as_str());
        let mut moving: Vec<_> = self
            .databases
            .iter()
            .map(|database| database.datname.as_str())
            .chain(fated)
            .collect();
        moving.sort_unstable();
        moving.dedup();
        moving
    }

    /// The PostgreSQL names of databases that stay closed until completion.
    fn staying_closed(&self) -> Vec<&str> {
        self.fates
            .iter()
            .filter(|&(_, &fate)| fate == UnlistedDatabasePolicy::StaysClosed)
            .map(|(datname, _)| datname.as_str())
            .collect()
    }
}

/// Runs every check and says what each found, in the order of the operators' list.
pub async fn run(ctx: &CheckContext<'_>) -> Report {
    let servers: Vec<BoxFuture<'_, Vec<Finding>>> = vec![
        Box::pin(identity::run(ctx)),
        Box::pin(source::on_server(ctx)),
        Box::pin(room::run(ctx)),
        Box::pin(fence::run(ctx)),
        Box::pin(writers::on_server(ctx)),
        Box::pin(reverse::on_server(ctx)),
        Box::pin(replica::run(ctx)),
        Box::pin(synchronous::run(ctx)),
        Box::pin(databases::run(ctx)),
        Box::pin(readers::run(ctx)),
        Box::pin(control::run(ctx)),
    ];
    // Boxed, so that the whole future is `Send` for every lifetime.
    let databases: Vec<BoxFuture<'_, Vec<Finding>>> = ctx
        .moving()
        .into_iter()
        .map(|datname| Box::pin(in_database(ctx, datname)) as BoxFuture<'_, _>)
        .chain(
            ctx.staying_closed()
                .into_iter()
                .map(|datname| Box::pin(in_closed_database(ctx, datname)) as BoxFuture<'_, _>),
        )
        .collect();
    let databases = stream::iter(databases)
        .buffered(DATABASES_AT_ONCE)
        .collect::<Vec<_>>();
    let (servers, databases) = futures_util::join!(join_all(servers), databases);
    let mut findings: Vec<_> = servers.into_iter().chain(databases).flatten().collect();
    findings.push(fleet::membership(ctx));
    findings.push(fleet::target_reachable(ctx));
    let position = |finding: &Finding| ALL.iter().position(|check| check.id == finding.id);
    findings.sort_by_key(position);
    Report {
        at: UnixMillis::now(),
        moment: ctx.moment,
        findings,
    }
}

/// The checks inside one database, one after the other on its one session.
async fn in_database(ctx: &CheckContext<'_>, datname: &str) -> Vec<Finding> {
    let mut findings = vec![source::unlogged_tables(ctx, datname).await];
    findings.extend(reverse::in_database(ctx, datname).await);
    findings.push(partitions::run(ctx, datname).await);
    findings.push(writers::in_database(ctx, datname).await);
    findings
}

/// A database that stays closed is promoted like the others: on the target it is all that
/// is left of it.
async fn in_closed_database(ctx: &CheckContext<'_>, datname: &str) -> Vec<Finding> {
    vec![source::unlogged_tables(ctx, datname).await]
}

/// Every check, in the order of reports.
const ALL: [Check; 20] = [
    identity::SAME_SYSTEM,
    source::SUBSCRIPTIONS,
    room::ROOM,
    source::UNLOGGED_TABLES,
    source::PREPARED_TRANSACTIONS,
    fence::COVERS_EVERYONE,
    reverse::WAL_LEVEL,
    reverse::REPLICA_IDENTITY,
    reverse::LARGE_OBJECTS,
    partitions::PARTITIONS_DUE,
    reverse::ALWAYS_TRIGGERS,
    replica::STREAMING,
    fleet::MEMBERSHIP,
    fleet::TARGET_REACHABLE,
    control::READY,
    writers::REPLICATION_WRITERS,
    databases::EVERY_DATABASE,
    synchronous::SYNCHRONOUS,
    readers::READERS,
    reverse::PUBLICATION,
];

/// Sessions are one per database and server; more at once would load the source.
const DATABASES_AT_ONCE: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operators_page_lists_and_explains_every_check() {
        let page = include_str!("../../docs/preflight.md");
        for check in ALL {
            let listed = format!("| {} | `{}` |", check.id, check.slug);
            assert!(page.contains(&listed), "{listed}");
            let explained = format!("### {} · `{}`", check.id, check.slug);
            assert!(page.contains(&explained), "{explained}");
        }
        let explained = page.lines().filter(|line| line.starts_with("### "));
        assert_eq!(explained.count(), ALL.len());
    }
}
