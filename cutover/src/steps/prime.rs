//! What must exist before the new writer's first write.

use futures_util::future::try_join3;
use serde_json::json;

use super::{Failure, Proof, Run, prove, sessions::enter};
use crate::{
    machine::Event,
    ports::{ControlledServer, Exempt, FenceRecord},
};

/// The target is still closed: late sessions end, slots are made, and its WAL proves that
/// nobody wrote before them.
pub(super) async fn forward(run: &mut Run<'_>) -> Result<Proof, Failure> {
    let record = prove::full_record(run.migration, true);
    let fork = run.migration.facts.fork;
    let exempt = run.migration.facts.exempt.clone();
    let outcome = prime_target(run).await;
    match outcome {
        Err(failure) if failure.event == Event::Failed && !failure.unreachable => {
            let target = run.target().await?;
            let unwritten = match fork {
                Some(fork) => unwritten(&*target, &record, fork, &exempt).await,
                None => false,
            };
            Err(if unwritten {
                Failure {
                    event: Event::FailedTargetUnwritten,
                    ..failure
                }
            } else {
                Failure::unprovable(failure.words)
            })
        }
        other => other,
    }
}

async fn prime_target(run: &mut Run<'_>) -> Result<Proof, Failure> {
    let moving = run.migration.moving();
    let end = run.settings.end_sessions;
    let facts = run.migration.facts.clone();
    let fork = facts
        .fork
        .ok_or_else(|| Failure::new("where recovery ended is not on record"))?;
    let target = run.target().await?;
    // Without sessions into the closed databases no slot can be made there.
    let own = enter(&*target, &moving).await?;
    let ((), ended, slots) = try_join3(
        target.barrier(),
        target.end_sessions(&[], end),
        target.create_reverse_slots(&moving),
    )
    .await?;
    let late = target.end_sessions(&[], end).await?;
    let mut exempt = facts.exempt;
    exempt.xids.extend(&own);
    let commits = target.user_commits(fork, &exempt).await?;
    let opened = target.observe().await?.position;
    let stream_complete = commits.count == 0 && slots.len() == moving.len();
    let words = if stream_complete {
        format!(
            "{} reverse slots hold every write from here on",
            slots.len()
        )
    } else {
        format!(
            "the way back is not lossless: {} transactions were committed on {} before its slots",
            commits.count,
            target.name()
        )
    };
    let evidence = json!({
        "slots": slots,
        "sessions_ended": ended + late,
        "user_commits_before_slots": commits.count,
        "proved_through": commits.through,
    });
    let facts = &mut run.migration.facts;
    facts.exempt = exempt;
    facts.slots = slots;
    facts.opened = Some(opened);
    facts.stream_complete = stream_complete;
    Ok(Proof::new(words, evidence))
}

/// Whether the target is a closed, empty primary on which nobody has written.
pub(super) async fn unwritten(
    target: &dyn ControlledServer,
    record: &FenceRecord,
    fork: crate::Lsn,
    exempt: &Exempt,
) -> bool {
    let primary = target
        .observe()
        .await
        .is_ok_and(|observed| !observed.in_recovery);
    if !primary {
        return false;
    }
    let closed = target
        .breaches(record, &[])
        .await
        .is_ok_and(|breaches| breaches.is_empty());
    closed
        && target
            .user_commits(fork, exempt)
            .await
            .is_ok_and(|commits| commits.count == 0)
}

/// The source gets `pg_hba.conf` and its logins back; its databases are still limited to
/// nobody, and the target is closed.
pub(super) async fn reverse(run: &mut Run<'_>) -> Result<Proof, Failure> {
    let facts = run.migration.facts.clone();
    let wait = run.settings.end_sessions;
    let source = run.source().await?;
    let closed = facts.closed_source.unwrap_or_default();
    source.restore_hba(&closed).await?;
    // The reload is asynchronous: whoever is let out of a sidecar before it is through
    // would be refused.
    source.await_hba(false, wait).await?;
    let armed = facts.armed.unwrap_or_default();
    source.restore_logins(&armed).await?;
    Ok(Proof::new(
        format!("{} has its former pg_hba.conf and logins", source.name()),
        json!({ "logins": armed.nologin_roles, "hba": closed.hba.is_some() }),
    ))
}
