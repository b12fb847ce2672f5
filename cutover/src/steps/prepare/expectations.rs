//! What the two servers of a switch must be, and be able to do.

use crate::{
    machine::Direction,
    migration::Migration,
    ports::{ControlledServer, MissingRole, Observation, PromotionOutlook},
    steps::{Failure, Run, sessions::Both},
};

/// Every role that a switch and its way back need: what is missing must show before anything
/// is held. Without a subscriber there is a switch, and no way back without loss after its first
/// write; the record says so.
pub(super) fn expect_roles(both: &Both) -> Result<(), MissingRole> {
    let Both { source, target } = both;
    for server in [source, target] {
        server.sessions()?;
        server.fence()?;
        server.replication()?;
        server.wal_proof()?;
        server.probe_table()?;
    }
    source.preparation()?;
    target.reverse_publisher()?;
    target.preparation()?;
    Ok(())
}

/// The target can be promoted, one way or the other. Returns what is known beforehand of a
/// promotion by an API.
pub(super) async fn expect_promotion(
    run: &Run<'_>,
    target: &ControlledServer,
) -> Result<Option<PromotionOutlook>, Failure> {
    let managed = run.managed_promotion().await?;
    if managed.is_none() {
        target.guarded_promotion()?;
    }
    Ok(managed.map(|api| api.outlook()))
}

/// Source and target are one system, in the roles that `direction` begins with.
pub(super) fn expect_pair(
    migration: &Migration,
    source: &Observation,
    target: &Observation,
    direction: Direction,
) -> Result<(), Failure> {
    let (from, to) = (&migration.source, &migration.target);
    if source.system_identifier != target.system_identifier {
        return Err(Failure::condition(format!(
            "target {to} is not a replica of source {from}: system identifiers {} and {} differ; \
             build the target as a physical standby of the source",
            target.system_identifier, source.system_identifier
        )));
    }
    let known = migration.facts.lease();
    if known.is_some_and(|known| known != source.system_identifier) {
        return Err(Failure::condition(format!(
            "server {from} is another one than when this migration was started: its system \
             identifier is {} now; cancel the migration and make a new one",
            source.system_identifier
        )));
    }
    if source.in_recovery {
        return Err(Failure::condition(format!("source {from} is a standby")));
    }
    match (direction, target.in_recovery) {
        (Direction::Forward, true) | (Direction::Reverse, false) => Ok(()),
        (Direction::Forward, false) => Err(Failure::condition(format!(
            "target {to} is a primary already (timeline {}); somebody promoted it: rebuild it as a \
             standby of {from}",
            target.timeline
        ))),
        (Direction::Reverse, true) => Err(Failure::condition(format!(
            "target {to} is a standby, not the writer to go back from"
        ))),
    }
}
