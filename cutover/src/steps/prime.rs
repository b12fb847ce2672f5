//! What must exist before the new writer's first write.

use futures_util::future::try_join3;
use serde_json::json;

use super::{Failure, Problem, Proof, Run, prove, sessions::enter};
use crate::{
    Lsn,
    machine::Side,
    migration::{Coverage, Learned, ReverseStream},
    ports::{AccessRules, Armed, ControlledServer, Exempt, FenceRecord, ProviderError},
};

/// The target is still closed: late sessions end, slots are made, and its WAL proves that
/// nobody wrote before them.
pub(super) async fn forward(run: &mut Run<'_>) -> Result<Proof, Failure> {
    match prime_target(run).await {
        Err(failure) if failure.problem.is_an_answer() => Err(judge(run, failure).await?),
        outcome => outcome,
    }
}

/// The slots could not be made. Whether that can be taken back depends on whether anybody was
/// on the target.
async fn judge(run: &mut Run<'_>, failure: Failure) -> Result<Failure, Failure> {
    let facts = &run.migration.facts;
    let proof = match (
        prove::full_record(run.migration, Side::Source),
        facts.promotion(),
    ) {
        (Ok(record), Ok(promotion)) => Some((record, promotion.fork)),
        (Err(_), _) | (_, Err(_)) => None,
    };
    let target = run.target().await?;
    let unwritten = match proof {
        Some((record, fork)) => unwritten(&target, &record, fork, facts.exempt()).await,
        None => false,
    };
    let problem = if unwritten {
        Problem::TargetUnwritten
    } else {
        Problem::Unprovable
    };
    Ok(Failure { problem, ..failure })
}

async fn prime_target(run: &mut Run<'_>) -> Result<Proof, Failure> {
    let moving = run.migration.moving();
    let end = run.budgets.target.end_sessions;
    let fork = run.migration.facts.promotion()?.fork;
    let target = run.target().await?;
    // Without sessions into the closed databases no slot can be made there.
    let own = enter(&target, &moving).await?;
    let ((), ended, slots) = try_join3(
        target.sessions()?.await_starting_backends(),
        target.sessions()?.end_sessions(&[], end),
        target.reverse_publisher()?.create_slots(&moving),
    )
    .await?;
    let late = target.sessions()?.end_sessions(&[], end).await?;
    let mut exempt = run.migration.facts.exempt().clone();
    exempt.xids.extend(&own);
    let commits = target.wal_proof()?.user_commits(fork, &exempt).await?;
    let opened = target.observe().await?.position;
    let coverage = if commits.count == 0 && slots.len() == moving.len() {
        Coverage::Complete
    } else {
        Coverage::Incomplete
    };
    let message = match coverage {
        Coverage::Complete => format!(
            "{} reverse slots hold every write from here on",
            slots.len()
        ),
        Coverage::Incomplete => format!(
            "the way back is not lossless: {} transactions were committed on {} before its slots",
            commits.count,
            target.name()
        ),
    };
    let evidence = json!({
        "slots": slots,
        "sessions_ended": ended + late,
        "user_commits_before_slots": commits.count,
        "proved_through": commits.through,
    });
    let stream = ReverseStream {
        slots,
        opened,
        coverage,
        armed: Armed::default(),
    };
    Ok(Proof::new(message, evidence)
        .learning(Learned::OwnTransactions(own))
        .learning(Learned::Primed { stream }))
}

/// Whether the target is proven to be a closed, empty primary on which nobody has written.
pub(super) async fn unwritten(
    target: &ControlledServer,
    record: &FenceRecord,
    fork: Lsn,
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
    // WAL that cannot be read proves nothing.
    proof.await.unwrap_or(false)
}

/// The source gets `pg_hba.conf` and its logins back; its databases are still limited to
/// nobody, and the target is closed.
pub(super) async fn reverse(run: &mut Run<'_>) -> Result<Proof, Failure> {
    let facts = &run.migration.facts;
    let former = facts.former_settings(Side::Source)?;
    let armed = &facts.stream()?.armed;
    let wait = run.budgets.source.end_sessions;
    let source = run.source().await?;
    source.fence()?.restore_access_rules(former).await?;
    // The reload is asynchronous: a client that a sidecar lets out before the reload is
    // complete would be refused.
    source
        .fence()?
        .await_access_rules(AccessRules::Former, wait)
        .await?;
    source.reverse_subscriber()?.restore_logins(armed).await?;
    Ok(Proof::new(
        format!("{} has its former pg_hba.conf and logins", source.name()),
        json!({ "logins": armed.nologin_roles, "hba": former.hba.is_some() }),
    ))
}
