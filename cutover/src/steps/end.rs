//! The ends of a migration outside a switch.

use serde_json::json;

use super::{Failure, Proof, Run, fence, sessions::enter};

/// The reverse stream is taken down, the source closed and kept.
pub(super) async fn complete(run: &mut Run<'_>) -> Result<Proof, Failure> {
    let moving = run.migration.moving();
    let slots = run.migration.facts.slots.clone();
    let former = run
        .migration
        .facts
        .closed_source
        .clone()
        .unwrap_or_default();
    let target = run.target().await?;
    target.sessions()?.open_databases(&moving).await?;
    let (closing, ended) = close_source_for_good(run, &moving).await?;
    // From here on a return to the bake finds no stream that could be armed again.
    run.migration.facts.stream_complete = false;
    target.reverse_publisher()?.drop_slots(&slots).await?;
    target.fence()?.reopen(&former, &[]).await?;
    target.preparation()?.unprepare(&moving).await?;
    Ok(Proof::new(
        format!("{closing}, {} serves for good", target.name()),
        json!({ "sessions_ended": ended, "slots_dropped": slots.len() }),
    ))
}

/// The source refuses everybody, and no subscription is left on it; in words, with the
/// number of sessions that ended. One that is gone for good keeps the fence that it has had
/// since the switch, should it ever come back.
async fn close_source_for_good(
    run: &mut Run<'_>,
    moving: &[String],
) -> Result<(String, u64), Failure> {
    let end = run.settings.end_sessions;
    let record = fence::record(run.migration, true);
    let source = match run.source().await {
        Err(failure) if failure.unreachable && run.migration.facts.source_asserted_down => {
            let words = format!(
                "{} is left behind as it is: an operator asserted that it is down for good ({})",
                run.migration.source, failure.words
            );
            return Ok((words, 0));
        }
        found => found?,
    };
    enter(&*source, moving).await?;
    source
        .reverse_subscriber()?
        .disable_subscriptions(moving)
        .await?;
    source
        .reverse_subscriber()?
        .drop_subscriptions(moving)
        .await?;
    source.fence()?.close(&record).await?;
    source.sessions()?.await_starting_backends().await?;
    let ended = source.sessions()?.end_sessions(&[], end).await?;
    Ok((format!("{} is closed and kept", source.name()), ended))
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
    source.sessions()?.open_databases(&moving).await?;
    source.preparation()?.unprepare(&moving).await?;
    Ok(Proof::new(
        format!(
            "publication and probe table are gone from {}",
            source.name()
        ),
        json!({}),
    ))
}
