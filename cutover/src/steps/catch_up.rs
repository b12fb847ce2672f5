//! The new writer has everything up to the marker.

use std::time::Duration;

use serde_json::json;

use super::{
    Failure, Proof, Run, answered,
    left_out::{left_out, not_carried},
};
use crate::{
    Lsn,
    machine::{Assertion, Direction},
    migration::{Coverage, Migration, Promotion, ReverseStream},
    ports::{Budgets, Clock, ControlledServer, ProviderError, SlotProgress},
};

pub(super) async fn forward(run: &mut Run<'_>) -> Result<Proof, Failure> {
    let marker = run.migration.facts.marker(Direction::Forward)?;
    let Budgets {
        catch_up: wait,
        end_sessions: end,
        ..
    } = run.budgets.target;
    let target = run.target().await?;
    let replayed = replayed(run.clock(), &target, marker.lsn, wait).await?;
    let ended = target.sessions()?.end_sessions(&[], end).await?;
    Ok(Proof::new(
        format!("{} has replayed {}", target.name(), marker.lsn),
        json!({ "marker": marker.lsn, "replayed": replayed, "sessions_ended": ended }),
    ))
}

/// Waits for `lsn`, and reads the role in the same statement.
pub(super) async fn replayed(
    clock: &dyn Clock,
    target: &ControlledServer,
    lsn: Lsn,
    wait: Duration,
) -> Result<Lsn, Failure> {
    let what = format!("replay up to {lsn}");
    let replay = answered(
        clock,
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
    let facts = &run.migration.facts;
    let marker = facts.marker(Direction::Reverse)?;
    let (stream, promotion) = (facts.stream()?, facts.promotion()?);
    let target = run.target().await?;
    let accepted = run.migration.machine.holds(Assertion::LossAccepted);
    let left_out = tables_given_up(run.migration, &target).await?;
    let progress = await_delivery(run, &target, stream, marker.lsn).await?;
    if delivered(stream, &progress, marker.lsn) {
        return Ok(applied(marker.lsn, &progress, &left_out));
    }
    // The target is closed: now "nobody wrote" can be said of it, and counted.
    let since = delivered_up_to(promotion, stream, &progress);
    let how_to_go_on = format!(
        "repair the reverse stream, or accept the loss (migration rollback {} --accept-loss)",
        run.migration.name
    );
    let counting = target.wal_proof()?.user_commits(since, facts.exempt());
    let counted = match run.clock().timeout(COUNT, counting).await {
        Ok(Ok(counted)) => counted.ok_or_else(|| "on this server WAL cannot be read".to_owned()),
        // What a lost slot needed is removed WAL.
        Ok(Err(ProviderError::Failed { reason, .. })) => Err(reason),
        Ok(Err(error)) => return Err(error.into()),
        Err(_elapsed) => Err(format!("that took longer than {COUNT:?}")),
    };
    let lost = match counted {
        Ok(lost) => lost,
        Err(_uncounted) if accepted => {
            return Ok(Proof::new(
                format!("what the source lacks is given up, uncounted; last confirmed {since}"),
                json!({ "marker": marker.lsn, "slots": progress }),
            ));
        }
        Err(why) => {
            return Err(Failure::condition(format!(
                "going back now would lose writes: the source has confirmed {since}, the target is \
                 at {}, and what lies between could not be counted: {why}; {how_to_go_on}",
                marker.lsn
            )));
        }
    };
    if lost > 0 && !accepted {
        return Err(Failure::condition(format!(
            "going back now would lose {lost} committed transactions: the source has confirmed \
             {since}, the target is at {}; {how_to_go_on}",
            marker.lsn
        )));
    }
    Ok(Proof::new(
        format!("{lost} committed transactions since {since} are given up"),
        json!({ "marker": marker.lsn, "slots": progress, "writes_lost": lost }),
    ))
}

/// The tables that the stream leaves out, where an operator has accepted that their rows are lost.
async fn tables_given_up(
    migration: &Migration,
    target: &ControlledServer,
) -> Result<Vec<String>, Failure> {
    let accepted = migration.machine.holds(Assertion::LossAccepted);
    let left_out = match left_out(migration, target).await {
        Err(_unknown) if accepted => Vec::new(),
        found => found?,
    };
    match not_carried(&left_out) {
        Some(gap) if !accepted => Err(Failure::condition(format!(
            "going back now may lose writes: {gap}; accept the loss (migration rollback {} \
             --accept-loss)",
            migration.name
        ))),
        _ => Ok(left_out),
    }
}

fn applied(marker: Lsn, progress: &[SlotProgress], left_out: &[String]) -> Proof {
    match not_carried(left_out) {
        None => Proof::new(
            format!("the source has applied everything up to {marker}"),
            json!({ "marker": marker, "slots": progress, "writes_lost": 0 }),
        ),
        Some(gap) => Proof::new(
            format!(
                "the source has applied everything up to {marker} that it was sent; {gap}, whose \
                 new rows are given up"
            ),
            json!({ "marker": marker, "slots": progress, "tables_left_out": left_out }),
        ),
    }
}

/// Whether the reverse stream brings the source everything up to `marker` in time.
pub(super) async fn delivers(
    run: &Run<'_>,
    target: &ControlledServer,
    marker: Lsn,
) -> Result<bool, Failure> {
    let stream = run.migration.facts.stream()?;
    let progress = await_delivery(run, target, stream, marker).await?;
    Ok(delivered(stream, &progress, marker))
}

/// Waits until every slot has delivered up to `marker`, as long as that can still happen.
async fn await_delivery(
    run: &Run<'_>,
    target: &ControlledServer,
    stream: &ReverseStream,
    marker: Lsn,
) -> Result<Vec<SlotProgress>, Failure> {
    let publisher = target.reverse_publisher()?;
    let deadline = run.clock().deadline(run.budgets.source.catch_up);
    loop {
        let progress = publisher.slot_progress(&stream.slots).await?;
        let hopeless =
            stream.coverage == Coverage::Incomplete || progress.len() < stream.slots.len();
        if hopeless || delivered(stream, &progress, marker) || deadline.has_passed() {
            return Ok(progress);
        }
        run.clock().sleep(POLL).await;
    }
}

/// Whether the stream holds every write, and every database's slot is there and past
/// `marker`: one that is gone proves nothing of its database.
fn delivered(stream: &ReverseStream, progress: &[SlotProgress], marker: Lsn) -> bool {
    let all = !progress.is_empty() && progress.len() == stream.slots.len();
    stream.coverage == Coverage::Complete
        && all
        && progress.iter().all(|slot| slot.confirmed >= marker)
}

/// Up to where the source has everything that was written on the target. What a slot that
/// is gone had delivered is not known, and a slot knows nothing of what preceded it.
pub(super) fn delivered_up_to(
    promotion: Promotion,
    stream: &ReverseStream,
    progress: &[SlotProgress],
) -> Lsn {
    match stream.coverage {
        Coverage::Incomplete => stream.given_up_at.unwrap_or(promotion.fork),
        Coverage::Complete => {
            let confirmed = progress.iter().map(|slot| slot.confirmed).min();
            let all = progress.len() == stream.slots.len();
            confirmed.filter(|_| all).unwrap_or(stream.opened)
        }
    }
}

/// Counting reads all WAL in between, behind a hold.
const COUNT: Duration = Duration::from_secs(3);
/// `confirmed_flush_lsn` moves with each report of the subscriber; a look costs 0.2 ms.
const POLL: Duration = Duration::from_millis(1);
