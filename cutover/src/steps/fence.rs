//! The old writer refuses everybody, with proof, and its final position is known.

use std::time::Duration;

use futures_util::future::{join, try_join, try_join3};
use serde_json::json;

use super::{BudgetsOfPair, Failure, Proof, Run, answered};
use crate::{
    machine::{Direction, Side},
    migration::{FencedTarget, Learned, Migration, MissingFact},
    ports::{
        Clock, ConnectionAttempt, ControlledServer, FenceRecord, FenceToken, FormerSettings,
        Marker, ProviderError, ReverseSlot,
    },
};

pub(super) async fn forward(run: &mut Run<'_>) -> Result<Proof, Failure> {
    let BudgetsOfPair { source, target } = run.budgets;
    let record = record(run, Side::Source)?;
    let system_identifier = run.migration.facts.system_identifier()?.to_owned();
    let databases = run.migration.moving();
    let reported = run.routes().reported(Direction::Forward);
    let both = run.both().await?;
    // Sessions on the standby survive a promotion and could write after it, so they end
    // now, while the source's do; new readers are held already.
    let (source, ended_on_target) = join(
        close_and_empty(
            run.clock(),
            &both.source,
            &record,
            &[],
            &databases,
            source.end_sessions,
        ),
        answered(
            run.clock(),
            &both.target,
            target.end_sessions,
            "end its sessions",
            both.target
                .sessions()?
                .end_sessions(&[], target.end_sessions),
        ),
    )
    .await;
    let (source, ended_on_target) = (source?, ended_on_target?);
    let token = FenceToken {
        server: both.source.name().clone(),
        system_identifier,
        timeline: record.timeline,
        marker: source.marker,
        epoch: record.epoch,
    };
    let proof = Proof::new(
        format!(
            "{} is closed: {} ({} reported by sidecars), new ones refused",
            both.source.name(),
            ended(source.ended),
            reported.count()
        ),
        json!({
            "token": {
                "server": token.server,
                "system_identifier": token.system_identifier,
                "timeline": token.timeline,
                "lsn": token.marker.lsn,
                "epoch": token.epoch,
            },
            "sessions_ended": source.ended,
            "sessions_reported": reported,
            "sessions_ended_on_target": ended_on_target,
            "refusal": source.refusal,
        }),
    );
    Ok(proof.learning(Learned::SourceClosed {
        former: source.former,
        token,
    }))
}

fn ended(sessions: u64) -> String {
    match sessions {
        1 => "1 session ended".to_owned(),
        _ => format!("{sessions} sessions ended"),
    }
}

pub(super) async fn reverse(run: &mut Run<'_>) -> Result<Proof, Failure> {
    let deadline = run.budgets.target.end_sessions;
    let record = record(run, Side::Target)?;
    let databases = run.migration.moving();
    let reported = run.routes().reported(Direction::Reverse);
    let slots = &run.migration.facts.stream()?.slots;
    let target = run.target().await?;
    let fenced =
        close_and_empty(run.clock(), &target, &record, slots, &databases, deadline).await?;
    let marker = fenced.marker;
    let proof = Proof::new(
        format!(
            "{} is closed: {} ({} reported by sidecars), new ones refused",
            target.name(),
            ended(fenced.ended),
            reported.count()
        ),
        json!({
            "lsn": marker.lsn,
            "sessions_ended": fenced.ended,
            "sessions_reported": reported,
            "refusal": fenced.refusal,
        }),
    );
    Ok(proof.learning(Learned::TargetClosed(FencedTarget {
        former: fenced.former,
        marker,
    })))
}

/// The record that closes the server on `side`.
pub(super) fn record(run: &Run<'_>, side: Side) -> Result<FenceRecord, MissingFact> {
    let migration = run.migration;
    let facts = &migration.facts;
    Ok(FenceRecord {
        migration: migration.name.clone(),
        epoch: migration.machine.epoch(),
        server: migration.server(side).clone(),
        timeline: match side {
            Side::Source => facts.source_timeline()?,
            Side::Target => facts.promotion()?.timeline,
        },
        promoted_by_api: side == Side::Source && facts.promotion_outlook().is_some(),
        promote_within: run.budgets.target.promote,
        former: FormerSettings::default(),
    })
}

/// Closes the server on `side` anew and waits out who was starting. Returns the record with what was
/// before.
pub(super) async fn close_again(
    run: &Run<'_>,
    side: Side,
    server: &ControlledServer,
) -> Result<FenceRecord, Failure> {
    let record = record(run, side)?;
    let former = server.fence()?.close(&record).await?;
    server.sessions()?.await_starting_backends().await?;
    Ok(FenceRecord { former, ..record })
}

pub(super) fn marker_id(migration: &Migration) -> String {
    format!("{}/{}", migration.name, migration.machine.epoch())
}

#[derive(Debug)]
struct Fenced {
    former: FormerSettings,
    marker: Marker,
    ended: u64,
    refusal: ConnectionAttempt,
}

/// The server's own word that it is closed. One that does not answer, or refuses for another reason,
/// has not said it, and is asked again.
async fn refusal(
    clock: &dyn Clock,
    server: &ControlledServer,
    datname: &str,
    wait: Duration,
) -> Result<ConnectionAttempt, ProviderError> {
    let deadline = clock.deadline(wait);
    loop {
        let attempt = server.sessions()?.try_connect(datname).await?;
        if attempt.is_fenced() {
            return Ok(attempt);
        }
        if attempt == ConnectionAttempt::Accepted {
            return Err(ProviderError::Failed {
                server: server.name().clone(),
                what: "closing it".to_owned(),
                reason: format!("it still accepts connections to {datname}"),
            });
        }
        if deadline.has_passed() {
            return Err(ProviderError::TimedOut {
                server: server.name().clone(),
                what: format!("its word that {datname} is closed"),
                waited: wait,
                found: format!("a new connection found {attempt}"),
            });
        }
        clock.sleep(POLL).await;
    }
}

async fn close_and_empty(
    clock: &dyn Clock,
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
    let former = server.fence()?.close(record).await?;
    let first = databases.first().map_or("postgres", String::as_str);
    let ((), ended, refusal) = try_join3(
        server.sessions()?.await_starting_backends(),
        server.sessions()?.end_sessions(spare, deadline),
        refusal(clock, server, first, deadline),
    )
    .await?;
    // Every backend that was starting at the closing has appeared by now.
    let late = server.sessions()?.end_sessions(spare, deadline).await?;
    let full = FenceRecord {
        former: former.clone(),
        ..record.clone()
    };
    let (breaches, marker) = try_join(
        server.fence()?.breaches(&full, spare),
        server.wal_proof()?.marker(marker_id, marked),
    )
    .await?;
    if let Some(breach) = breaches.first() {
        return Err(Failure::condition(format!(
            "server {} is not closed and empty: {}",
            server.name(),
            breach.message
        )));
    }
    Ok(Fenced {
        former,
        marker,
        ended: ended + late,
        refusal,
    })
}

const POLL: Duration = Duration::from_millis(20);
