//! What must exist before the new writer's first write.

use futures_util::future::try_join3;
use serde_json::json;

use super::{Failure, Proof, Run, prove, sessions::enter};
use crate::{
    machine::Event,
    ports::{AccessRules, ControlledServer, Exempt, FenceRecord, ProviderError},
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
        target.sessions()?.await_starting_backends(),
        target.sessions()?.end_sessions(&[], end),
        target.reverse_publisher()?.create_slots(&moving),
    )
    .await?;
    let late = target.sessions()?.end_sessions(&[], end).await?;
    let mut exempt = facts.exempt;
    exempt.xids.extend(&own);
    let commits = target.wal_proof()?.user_commits(fork, &exempt).await?;
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

/// Whether the target is proven to be a closed, empty primary on which nobody has written.
pub(super) async fn unwritten(
    target: &ControlledServer,
    record: &FenceRecord,
    fork: crate::Lsn,
    exempt: &Exempt,
) -> bool {
    let proof = async {
        if target.observe().await?.in_recovery {
            return Ok(false);
        }
        if !target.fence()?.breaches(record, &[]).await?.is_empty() {
            return Ok(false);
        }
        let commits = target.wal_proof()?.user_commits(fork, exempt).await?;
        Ok::<_, ProviderError>(commits.count == 0)
    };
    // What cannot be read is no proof.
    proof.await.unwrap_or(false)
}

/// The source gets `pg_hba.conf` and its logins back; its databases are still limited to
/// nobody, and the target is closed.
pub(super) async fn reverse(run: &mut Run<'_>) -> Result<Proof, Failure> {
    let facts = run.migration.facts.clone();
    let wait = run.settings.end_sessions;
    let source = run.source().await?;
    let closed = facts.closed_source.unwrap_or_default();
    source.fence()?.restore_access_rules(&closed).await?;
    // The reload is asynchronous: whoever is let out of a sidecar before it is through
    // would be refused.
    source
        .fence()?
        .await_access_rules(AccessRules::Former, wait)
        .await?;
    let armed = facts.armed.unwrap_or_default();
    source.reverse_subscriber()?.restore_logins(&armed).await?;
    Ok(Proof::new(
        format!("{} has its former pg_hba.conf and logins", source.name()),
        json!({ "logins": armed.nologin_roles, "hba": closed.hba.is_some() }),
    ))
}
