//! The ends of a migration outside a switch.

use std::time::Duration;

use serde_json::json;

use super::{
    Failure, Proof, Run, bake_watch, durable, fence,
    outcome::{with_all, with_learned},
    sessions::enter,
    slots, synchronous, taken_down,
};
use crate::{
    machine::{Assertion, Side},
    migration::Learned,
    ports::ControlledServer,
};

/// The reverse stream is taken down, the source closed and kept.
pub(super) async fn complete(run: &mut Run<'_>) -> Result<Proof, Failure> {
    let moving = run.migration.moving();
    // Looked up first: without them nothing is taken down.
    run.migration.facts.former_settings(Side::Source)?;
    run.migration.facts.stream()?;
    let asserted_down = run.migration.machine.holds(Assertion::SourceDown);
    let mut seen = match bake_watch::left_alone(run).await {
        Err(failure) if failure.is_silent() && asserted_down => failure.learned,
        outcome => outcome?,
    };
    let outcome = give_up_the_way_back(run, &moving, &mut seen).await;
    with_all(outcome, seen)
}

/// `seen` is what the last look at the source found.
async fn give_up_the_way_back(
    run: &mut Run<'_>,
    moving: &[String],
    seen: &mut Vec<Learned>,
) -> Result<Proof, Failure> {
    let target = run.target().await?;
    target.sessions()?.open_databases(moving).await?;
    // Commits would wait for subscriptions that are gone.
    let waits_no_more = durable::put_back(run, &target).await?;
    let outcome = take_down_the_way_back(run, &target, moving, seen).await;
    with_all(outcome, waits_no_more.into_iter().collect())
}

async fn take_down_the_way_back(
    run: &mut Run<'_>,
    target: &ControlledServer,
    moving: &[String],
    seen: &mut Vec<Learned>,
) -> Result<Proof, Failure> {
    let (closing, ended) = close_source_for_good(run, moving, seen).await?;
    // From here on a return to the bake finds no stream that could be armed again.
    let outcome = release_target(run, target, &closing, ended).await;
    with_learned(outcome, Learned::StreamGivenUp)
}

/// The target keeps nothing of the migration.
async fn release_target(
    run: &Run<'_>,
    target: &ControlledServer,
    closing: &str,
    ended: u64,
) -> Result<Proof, Failure> {
    let facts = &run.migration.facts;
    let slots = &facts.stream()?.slots;
    let former = facts.former_settings(Side::Source)?;
    target.reverse_publisher()?.drop_slots(slots).await?;
    let moving = run.migration.moving();
    // An attempt that was cut off may have opened it and taken the fence's table down.
    taken_down::reopen(target, former, &moving).await?;
    target.preparation()?.unprepare(&moving).await?;
    run.routes().end_draining().await?;
    let left = synchronous::left_empty(run, target).await?;
    let left = left.map_or_else(String::new, |left| format!("; {left}"));
    Ok(Proof::new(
        format!("{closing}, {} serves for good{left}", target.name()),
        json!({ "sessions_ended": ended, "slots_dropped": slots.len() }),
    ))
}

/// The source refuses everybody, and no subscription is left on it. Says so, with the
/// number of sessions that ended. One that is gone for good keeps the fence that it has had
/// since the switch, should it ever come back.
///
/// What others wrote before it was closed is on no other server: it is looked at once more, as long as
/// the stream can be armed again.
async fn close_source_for_good(
    run: &mut Run<'_>,
    moving: &[String],
    seen: &mut Vec<Learned>,
) -> Result<(String, u64), Failure> {
    let end = run.budgets.source.end_sessions;
    let record = fence::record(run, Side::Source)?;
    let asserted_down = run.migration.machine.holds(Assertion::SourceDown);
    let source = match run.source().await {
        Err(failure) if failure.is_silent() && asserted_down => {
            let message = format!(
                "{} is left behind as it is: an operator asserted that it is down for good ({})",
                run.migration.source, failure.message
            );
            return Ok((message, 0));
        }
        found => found?,
    };
    if let Ok(subscriber) = source.reverse_subscriber() {
        enter(&source, moving).await?;
        subscriber.disable_subscriptions(moving).await?;
    }
    source.fence()?.close(&record).await?;
    source.sessions()?.await_starting_backends().await?;
    let ended = source.sessions()?.end_sessions(&[], end).await?;
    let looked = bake_watch::left_alone(run).await;
    seen.clear();
    seen.extend(looked?);
    if let Ok(subscriber) = source.reverse_subscriber() {
        subscriber.drop_subscriptions(moving).await?;
    }
    // An arming that came so far has dropped it.
    slots::drop_standby_slot(run, &source).await?;
    Ok((format!("{} is closed and kept", source.name()), ended))
}

/// What `start` made is taken back.
pub(super) async fn cancel(run: &mut Run<'_>) -> Result<Proof, Failure> {
    if run.migration.facts.lease().is_none() {
        return Ok(Proof::new("no server had been touched", json!({})));
    }
    let moving = run.migration.moving();
    let clock = run.clock();
    let give_up = clock.deadline(run.settings.undo);
    let taken = loop {
        match take_back(run, &moving).await {
            Err(failure) if failure.is_unanswered() && !give_up.has_passed() => {
                run.sessions.clear();
                clock.sleep(RETRY).await;
            }
            outcome => break outcome,
        }
    };
    match taken {
        Err(failure) if failure.is_unanswered() => {
            return Ok(Proof::new(
                format!(
                    "cancelled; what the start made is left behind, since {}",
                    failure.message
                ),
                json!({}),
            ));
        }
        outcome => outcome?,
    }
    run.routes().end_draining().await?;
    Ok(Proof::new(
        format!(
            "publication and probe table are gone from {}",
            run.migration.source
        ),
        json!({}),
    ))
}

async fn take_back(run: &mut Run<'_>, moving: &[String]) -> Result<(), Failure> {
    let source = run.source().await?;
    taken_down::take_down(&source, moving).await
}

const RETRY: Duration = Duration::from_millis(200);
