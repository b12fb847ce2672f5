//! The ends of a migration outside a switch.

use serde_json::json;

use super::{Failure, Proof, Run, fence, sessions::enter};

/// The reverse stream is taken down, the source closed and kept.
pub(super) async fn complete(run: &mut Run<'_>) -> Result<Proof, Failure> {
    let moving = run.migration.moving();
    let slots = run.migration.facts.slots.clone();
    let end = run.settings.end_sessions;
    let record = fence::record(run.migration, true);
    let former = run
        .migration
        .facts
        .closed_source
        .clone()
        .unwrap_or_default();
    let both = run.both().await?;
    both.target.open_databases(&moving).await?;
    enter(&*both.source, &moving).await?;
    both.source.disable_subscriptions(&moving).await?;
    both.source.drop_subscriptions(&moving).await?;
    both.source.close(&record).await?;
    both.source.barrier().await?;
    let ended = both.source.end_sessions(&[], end).await?;
    // From here on a return to the bake finds no stream that could be armed again.
    run.migration.facts.stream_complete = false;
    both.target.drop_slots(&slots).await?;
    both.target.reopen(&former, &[]).await?;
    both.target.unprepare(&moving).await?;
    Ok(Proof::new(
        format!(
            "{} is closed and kept, {} serves for good",
            both.source.name(),
            both.target.name()
        ),
        json!({ "sessions_ended": ended, "slots_dropped": slots.len() }),
    ))
}

/// What `start` made is taken back.
pub(super) async fn cancel(run: &mut Run<'_>) -> Result<Proof, Failure> {
    if run.migration.facts.system_identifier.is_none() {
        return Ok(Proof::new("no server had been touched", json!({})));
    }
    let moving = run.migration.moving();
    let source = match run.source().await {
        Err(failure) if failure.unreachable => {
            return Ok(Proof::new(
                format!(
                    "cancelled; what the start made is left behind, since {}",
                    failure.words
                ),
                json!({}),
            ));
        }
        outcome => outcome?,
    };
    source.open_databases(&moving).await?;
    source.unprepare(&moving).await?;
    Ok(Proof::new(
        format!(
            "publication and probe table are gone from {}",
            source.name()
        ),
        json!({}),
    ))
}
