//! The fence is proved once more, at the last moment before the intent to promote.

use serde_json::json;

use super::{Failure, Proof, Run, catch_up, fence};
use crate::{
    Lsn,
    migration::Migration,
    ports::{ControlledServer, FenceRecord, Marker, ReverseSlot},
};

pub(super) async fn forward(run: &mut Run<'_>) -> Result<Proof, Failure> {
    let (wait, end, promote) = (
        run.settings.catch_up,
        run.settings.end_sessions,
        run.settings.promote,
    );
    let facts = run.migration.facts.clone();
    let mut marker = catch_up::marker(run.migration)?;
    let id = fence::marker_id(run.migration);
    let record = full_record(run.migration, true);
    let both = run.both().await?;
    let mut tries = 0;
    let (ended, observed, proved_through) = loop {
        let (verdict, ended, observed) = futures_util::future::join3(
            proved(&*both.source, &record, &[], marker, &facts.exempt),
            both.target.sessions()?.end_sessions(&[], end),
            both.target.observe(),
        )
        .await;
        match verdict? {
            Ok(through) => break (ended?, observed?, through),
            // A writer slipped past the fence before the proof: end it, take a new marker
            // and wait for that one instead.
            Err(words) if tries >= MAX_TRIES => return Err(Failure::new(words)),
            Err(_) => {
                tries += 1;
                both.source.sessions()?.end_sessions(&[], end).await?;
                marker = both.source.wal_proof()?.marker(&id, &[]).await?;
                catch_up::replayed(&*both.target, marker.lsn, wait).await?;
            }
        }
    };
    let deadline = observed.clock.plus(promote);
    let facts = &mut run.migration.facts;
    facts.fence_proved = true;
    facts.marker = Some(marker);
    facts.promote_deadline = Some(deadline);
    Ok(Proof::new(
        format!(
            "nobody has written on {} since the marker",
            both.source.name()
        ),
        json!({
            "marker": marker.lsn,
            "proved_through": proved_through,
            "new_markers": tries,
            "sessions_ended_on_target": ended,
            "promote_deadline_ms": deadline,
        }),
    ))
}

pub(super) async fn reverse(run: &mut Run<'_>) -> Result<Proof, Failure> {
    let end = run.settings.end_sessions;
    let facts = run.migration.facts.clone();
    let marker = catch_up::marker(run.migration)?;
    let record = full_record(run.migration, false);
    let target = run.target().await?;
    match proved(&*target, &record, &facts.slots, marker, &facts.exempt).await? {
        Ok(through) => Ok(Proof::new(
            format!("nobody has written on {} since the marker", target.name()),
            json!({ "marker": marker.lsn, "proved_through": through }),
        )),
        Err(words) => {
            target.sessions()?.end_sessions(&facts.slots, end).await?;
            Err(Failure::new(words))
        }
    }
}

/// Proves the source's fence for a leader that has not proved it itself: whatever happened
/// since, a source that somebody opened must not get a second writer beside it.
pub(super) async fn source_still_fenced(run: &mut Run<'_>) -> Result<(), Failure> {
    if run.migration.facts.fence_proved {
        return Ok(());
    }
    let facts = run.migration.facts.clone();
    let marker = catch_up::marker(run.migration)?;
    let record = full_record(run.migration, true);
    let source = match run.source().await {
        Err(failure) if failure.unreachable && facts.source_asserted_down => return Ok(()),
        outcome => outcome?,
    };
    match proved(&*source, &record, &[], marker, &facts.exempt).await? {
        Ok(_through) => {
            run.migration.facts.fence_proved = true;
            Ok(())
        }
        Err(words) => Err(Failure::unprovable(words)),
    }
}

/// Closed, empty, and without a user commit after the marker; or why not.
async fn proved(
    server: &ControlledServer,
    record: &FenceRecord,
    spare: &[ReverseSlot],
    marker: Marker,
    exempt: &crate::ports::Exempt,
) -> Result<Result<Lsn, String>, Failure> {
    let (breaches, commits) = futures_util::future::try_join(
        server.fence()?.breaches(record, spare),
        server.wal_proof()?.user_commits(marker.after, exempt),
    )
    .await?;
    if let Some(breach) = breaches.first() {
        return Ok(Err(format!(
            "the fence of {} does not hold: {}",
            server.name(),
            breach.message
        )));
    }
    if commits.count > 0 {
        return Ok(Err(format!(
            "{} transactions were committed on {} behind the fence",
            commits.count,
            server.name()
        )));
    }
    Ok(Ok(commits.through))
}

/// The fence record with the settings that it recorded.
pub(super) fn full_record(migration: &Migration, source: bool) -> FenceRecord {
    let closed = if source {
        &migration.facts.closed_source
    } else {
        &migration.facts.closed_target
    };
    FenceRecord {
        former: closed.clone().unwrap_or_default(),
        ..fence::record(migration, source)
    }
}

/// A writer that comes back a fourth time is not an accident of timing.
const MAX_TRIES: u32 = 3;
