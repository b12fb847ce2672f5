//! The old writer refuses everybody, with proof, and its final position is known.

use std::time::Duration;

use futures_util::future::{join, try_join, try_join3};
use serde_json::json;

use super::{Failure, Proof, Run, answered};
use crate::{
    machine::Direction,
    migration::Migration,
    ports::{
        ConnectionAttempt, ControlledServer, FenceRecord, FormerSettings, Marker, ReverseSlot,
    },
};

pub(super) async fn forward(run: &mut Run<'_>) -> Result<Proof, Failure> {
    let deadline = run.settings.end_sessions;
    let record = record(run.migration, true);
    let databases = run.migration.moving();
    let reported = run.reported(Direction::Forward);
    let both = run.both().await?;
    // Sessions on the standby survive a promotion and could write after it, so they end
    // now, while the source's do; new readers are held already.
    let (source, ended_on_target) = join(
        close_and_empty(&*both.source, &record, &[], &databases, deadline),
        answered(
            &*both.target,
            deadline,
            "end its sessions",
            both.target.sessions()?.end_sessions(&[], deadline),
        ),
    )
    .await;
    let (source, ended_on_target) = (source?, ended_on_target?);
    let marker = source.marker;
    let facts = &mut run.migration.facts;
    facts.exempt.xids.extend(&source.closed.xids);
    facts.marker = Some(marker);
    facts.closed_source = Some(source.closed);
    Ok(Proof::new(
        format!(
            "{} is closed: {} sessions ended ({} by the sidecars' word), new ones refused",
            both.source.name(),
            source.ended,
            reported.count()
        ),
        json!({
            "token": {
                "server": both.source.name(),
                "system_identifier": facts.system_identifier,
                "timeline": record.timeline,
                "lsn": marker.lsn,
                "epoch": record.epoch,
            },
            "sessions_ended": source.ended,
            "sessions_reported": reported,
            "sessions_ended_on_target": ended_on_target,
            "refusal": source.refusal,
        }),
    ))
}

pub(super) async fn reverse(run: &mut Run<'_>) -> Result<Proof, Failure> {
    let deadline = run.settings.end_sessions;
    let record = record(run.migration, false);
    let databases = run.migration.moving();
    let reported = run.reported(Direction::Reverse);
    let target = run.target().await?;
    let slots = run.migration.facts.slots.clone();
    let fenced = close_and_empty(&*target, &record, &slots, &databases, deadline).await?;
    let marker = fenced.marker;
    let facts = &mut run.migration.facts;
    facts.exempt.xids.extend(&fenced.closed.xids);
    facts.marker = Some(marker);
    facts.closed_target = Some(fenced.closed);
    Ok(Proof::new(
        format!(
            "{} is closed: {} sessions ended ({} by the sidecars' word), new ones refused",
            target.name(),
            fenced.ended,
            reported.count()
        ),
        json!({
            "lsn": marker.lsn,
            "sessions_ended": fenced.ended,
            "sessions_reported": reported,
            "refusal": fenced.refusal,
        }),
    ))
}

/// The record that closes the source (`true`) or the target.
pub(super) fn record(migration: &Migration, source: bool) -> FenceRecord {
    let facts = &migration.facts;
    FenceRecord {
        migration: migration.name.clone(),
        epoch: migration.epoch,
        server: if source {
            migration.source.clone()
        } else {
            migration.target.clone()
        },
        timeline: if source {
            facts.source_timeline
        } else {
            facts.target_timeline.unwrap_or_default()
        },
        former: FormerSettings::default(),
    }
}

pub(super) fn marker_id(migration: &Migration) -> String {
    format!("{}/{}", migration.name, migration.epoch)
}

#[derive(Debug)]
struct Fenced {
    closed: FormerSettings,
    marker: Marker,
    ended: u64,
    refusal: ConnectionAttempt,
}

async fn close_and_empty(
    server: &ControlledServer,
    record: &FenceRecord,
    spare: &[ReverseSlot],
    databases: &[String],
    deadline: Duration,
) -> Result<Fenced, Failure> {
    let marker_id = &format!("{}/{}", record.migration, record.epoch);
    // The reverse stream's slots confirm what concerns their own database, so each gets a
    // marker of its own; physical replay needs one.
    let marked = if spare.is_empty() { &[][..] } else { databases };
    let closed = server.fence()?.close(record).await?;
    let first = databases.first().map_or("postgres", String::as_str);
    let ((), ended, refusal) = try_join3(
        server.sessions()?.await_starting_backends(),
        server.sessions()?.end_sessions(spare, deadline),
        server.sessions()?.try_connect(first),
    )
    .await?;
    if refusal == ConnectionAttempt::Accepted {
        return Err(Failure::new(format!(
            "server {} still accepts connections to {first} after it was closed",
            server.name()
        )));
    }
    // Every backend that was starting at the closing has appeared by now.
    let late = server.sessions()?.end_sessions(spare, deadline).await?;
    let full = FenceRecord {
        former: closed.clone(),
        ..record.clone()
    };
    let (breaches, marker) = try_join(
        server.fence()?.breaches(&full, spare),
        server.wal_proof()?.marker(marker_id, marked),
    )
    .await?;
    if let Some(breach) = breaches.first() {
        return Err(Failure::new(format!(
            "server {} is not closed and empty: {}",
            server.name(),
            breach.message
        )));
    }
    Ok(Fenced {
        closed,
        marker,
        ended: ended + late,
        refusal,
    })
}
