//! The new writer has everything up to the marker.

use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

use super::{Failure, Proof, Run, answered};
use crate::{
    Lsn,
    migration::{Facts, Migration},
    ports::{ControlledServer, Marker, SlotProgress},
};

pub(super) async fn forward(run: &mut Run<'_>) -> Result<Proof, Failure> {
    let marker = marker(run.migration)?;
    let (wait, end) = (run.settings.catch_up, run.settings.end_sessions);
    let target = run.target().await?;
    let replayed = replayed(&*target, marker.lsn, wait).await?;
    let ended = target.sessions()?.end_sessions(&[], end).await?;
    Ok(Proof::new(
        format!("{} has replayed {}", target.name(), marker.lsn),
        json!({ "marker": marker.lsn, "replayed": replayed, "sessions_ended": ended }),
    ))
}

/// Waits for `lsn`, and reads the role in the same statement.
pub(super) async fn replayed(
    target: &ControlledServer,
    lsn: Lsn,
    wait: Duration,
) -> Result<Lsn, Failure> {
    let what = format!("replay up to {lsn}");
    let replay = answered(
        target,
        wait,
        &what,
        target.replication()?.await_replay(lsn, wait),
    )
    .await?;
    if replay.in_recovery {
        Ok(replay.replayed)
    } else {
        Err(Failure::unprovable(format!(
            "{} is a primary, and this migration has not promoted it: somebody else did; both \
             servers stay closed until an operator decides",
            target.name()
        )))
    }
}

pub(super) async fn reverse(run: &mut Run<'_>) -> Result<Proof, Failure> {
    let marker = marker(run.migration)?;
    let wait = run.settings.catch_up;
    let facts = run.migration.facts.clone();
    let name = run.migration.name.clone();
    let target = run.target().await?;
    let deadline = Instant::now() + wait;
    let mut progress = target
        .reverse_publisher()?
        .slot_progress(&facts.slots)
        .await?;
    let there = |progress: &[SlotProgress]| progress.len() == facts.slots.len();
    while facts.stream_complete && there(&progress) && !delivered(&facts, &progress, marker.lsn) {
        if Instant::now() >= deadline {
            break;
        }
        sleep(POLL).await;
        progress = target
            .reverse_publisher()?
            .slot_progress(&facts.slots)
            .await?;
    }
    if facts.stream_complete && delivered(&facts, &progress, marker.lsn) {
        return Ok(Proof::new(
            format!("the source has applied everything up to {}", marker.lsn),
            json!({ "marker": marker.lsn, "slots": progress, "writes_lost": 0 }),
        ));
    }
    // The target is closed: now "nobody wrote" can be said of it, and counted.
    let Some(since) = delivered_up_to(&facts, &progress) else {
        return Err(Failure::new(format!(
            "what the source lacks is not countable: {} has no reverse slot, last confirmed \
             position unknown; repair the stream, or accept the loss (migration rollback {name} \
             --accept-loss)",
            target.name()
        )));
    };
    let counted = target.wal_proof()?.user_commits(since, &facts.exempt);
    let lost = match timeout(COUNT, counted).await {
        Ok(counted) => counted?,
        Err(_elapsed) if facts.accept_loss => {
            return Ok(Proof::new(
                format!("what the source lacks is given up, uncounted; last confirmed {since}"),
                json!({ "marker": marker.lsn, "slots": progress }),
            ));
        }
        Err(_elapsed) => {
            return Err(Failure::new(format!(
                "going back now would lose writes: the source has confirmed {since}, the target is \
                 at {}, and what lies between could not be counted within {COUNT:?}; repair the \
                 reverse stream, or accept the loss (migration rollback {name} --accept-loss)",
                marker.lsn
            )));
        }
    };
    if lost.count > 0 && !facts.accept_loss {
        return Err(Failure::new(format!(
            "going back now would lose {} committed transactions: the source has confirmed {since}, \
             the target is at {}; repair the reverse stream, or accept the loss (migration \
             rollback {name} --accept-loss)",
            lost.count, marker.lsn
        )));
    }
    Ok(Proof::new(
        format!(
            "{} committed transactions since {since} are given up",
            lost.count
        ),
        json!({ "marker": marker.lsn, "slots": progress, "writes_lost": lost.count }),
    ))
}

/// Whether every database's slot is there and past `marker`: one that is gone proves
/// nothing of its database.
fn delivered(facts: &Facts, progress: &[SlotProgress], marker: Lsn) -> bool {
    let all = !progress.is_empty() && progress.len() == facts.slots.len();
    all && progress.iter().all(|slot| slot.confirmed >= marker)
}

/// Up to where the source has everything that was written on the target. What a slot that
/// is gone had delivered is not known, and a slot knows nothing of what preceded it.
pub(super) fn delivered_up_to(facts: &Facts, progress: &[SlotProgress]) -> Option<Lsn> {
    if !facts.stream_complete {
        return facts.fork;
    }
    let confirmed = progress.iter().map(|slot| slot.confirmed).min();
    let all = progress.len() == facts.slots.len();
    confirmed.filter(|_| all).or(facts.opened)
}

pub(super) fn marker(migration: &Migration) -> Result<Marker, Failure> {
    migration
        .facts
        .marker
        .ok_or_else(|| Failure::new("the fence has left no marker: the journal is incomplete"))
}

/// Counting reads all WAL in between, behind a hold.
const COUNT: Duration = Duration::from_secs(3);
/// `confirmed_flush_lsn` moves with each report of the subscriber; a look costs 0.2 ms.
const POLL: Duration = Duration::from_millis(1);
