//! What must exist before the new writer's first write.

use std::time::Duration;

use futures_util::future::try_join3;
use serde_json::json;

use super::{
    Failure, Problem, Proof, Run,
    left_out::{left_out, not_carried},
    prove,
    sessions::enter,
    synchronous,
};
use crate::{
    machine::Side,
    migration::{Coverage, Learned, NotProven, ReverseStream},
    ports::{
        AccessRules, Armed, ControlledServer, Exempt, FenceRecord, Finding, Look, ProviderError,
        WalReach, WriteProof,
    },
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
    let proof = match (prove::full_record(run, Side::Source), facts.promoted_at()) {
        (Ok(record), Ok(since)) => Some((record, since)),
        (Err(_), _) | (_, Err(_)) => None,
    };
    let target = run.target().await?;
    let unwritten = match proof {
        Some((record, since)) => unwritten(&target, &record, &since, facts.exempt()).await,
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
    let since = run.migration.facts.promoted_at()?;
    let target = run.target().await?;
    // A slot waits for every transaction that is under way. In a database that cannot be closed one may be, and its
    // commit would wait for a standby that the switch took away.
    let released = synchronous::release(run, &target).await?;
    // Without sessions into the closed databases no slot can be made there.
    enter(&target, &moving).await?;
    // A slot that nobody will read would keep WAL until the target's disk is full.
    let no_way_back = run.migration.facts.no_way_back();
    let read = no_way_back.map_or(moving.as_slice(), |_none| &[]);
    let ((), ended, slots) = try_join3(
        target.sessions()?.await_starting_backends(),
        target.sessions()?.end_sessions(&[], end),
        target.reverse_publisher()?.create_slots(read),
    )
    .await?;
    let late = target.sessions()?.end_sessions(&[], end).await?;
    let exempt = run.migration.facts.exempt();
    let proof = target.wal_proof()?.prove_unwritten(&since, exempt).await?;
    // It is on the disk: a crash does not take it back.
    let opened = proof.through.lsn;
    let written = match proof.finding {
        Finding::Written(count) => count,
        Finding::Unwritten | Finding::Accepted(_) | Finding::Unproven(_) => 0,
    };
    let coverage = if written == 0 && slots.len() == moving.len() {
        Coverage::Complete
    } else {
        Coverage::Incomplete
    };
    let mut learned = Vec::new();
    if let Finding::Unproven(strangers) = &proof.finding {
        learned.push(Learned::NotProven(NotProven {
            server: target.name().clone(),
            strangers: strangers.clone(),
        }));
    }
    let left_out = left_out(run.migration, &target).await?;
    let gap = no_way_back
        .map(str::to_owned)
        .or_else(|| not_carried(&left_out));
    let evidence = json!({
        "slots": slots,
        "sessions_ended": ended + late,
        "proof": prove::evidence(&proof),
        "tables_left_out": left_out,
    });
    let message = match &gap {
        Some(gap) => format!("the way back is not lossless: {gap}"),
        None => {
            let by_whom = who_wrote(run, &target, &since, written).await;
            message(&target, slots.len(), &by_whom, &proof)
        }
    };
    let stream = ReverseStream {
        slots,
        opened,
        coverage,
        armed: Armed::default(),
        gap,
        admitted: None,
        given_up_at: None,
    };
    learned.push(Learned::Primed {
        stream,
        by: proof.method,
    });
    Ok(Proof {
        learned,
        ..Proof::new(message, evidence).saying(released)
    })
}

/// Who wrote before the slots, by transaction where that can be read in time.
async fn who_wrote(run: &Run<'_>, target: &ControlledServer, since: &Look, count: u64) -> String {
    if count == 0 {
        return String::new();
    }
    let (moving, exempt) = (run.migration.moving(), run.migration.facts.exempt());
    let reading = async {
        let proof = target.wal_proof()?;
        let since = WalReach::from(since);
        proof.user_writes(&since, exempt, &moving, NAMING).await
    };
    let read = run.clock().timeout(NAMING * 2, reading).await;
    let commits = match read {
        Ok(Ok(Some(writes))) => writes.commits,
        // The switch does not wait for their names.
        Ok(Ok(None) | Err(_)) | Err(_) => Vec::new(),
    };
    let named: Vec<_> = commits
        .iter()
        .take(NAMED)
        .map(ToString::to_string)
        .collect();
    match named.is_empty() {
        true => format!("others committed {count} transactions"),
        false => format!(
            "others committed {count} transactions, among them {}",
            named.join(", ")
        ),
    }
}

fn message(target: &ControlledServer, slots: usize, by_whom: &str, proof: &WriteProof) -> String {
    let name = target.name();
    match &proof.finding {
        Finding::Written(_) => {
            format!("the way back is not lossless: {by_whom} on {name} before its slots")
        }
        Finding::Unproven(strangers) => format!(
            "{} every write from here on; that nobody wrote before is not proven: {strangers} on \
             {name}",
            holding(slots)
        ),
        Finding::Unwritten | Finding::Accepted(_) => format!(
            "{} every write from here on; {}",
            holding(slots),
            prove::nobody_wrote(name, proof)
        ),
    }
}

fn holding(slots: usize) -> String {
    match slots {
        1 => "1 reverse slot holds".to_owned(),
        _ => format!("{slots} reverse slots hold"),
    }
}

/// Whether the target is proven to be a closed, empty primary on which nobody has written.
pub(super) async fn unwritten(
    target: &ControlledServer,
    record: &FenceRecord,
    since: &Look,
    exempt: &Exempt,
) -> bool {
    let proof = async {
        if target.observe().await?.in_recovery {
            return Ok(false);
        }
        if !target.fence()?.breaches(record, &[]).await?.is_empty() {
            return Ok(false);
        }
        let proof = target.wal_proof()?.prove_unwritten(since, exempt).await?;
        Ok::<_, ProviderError>(match proof.finding {
            Finding::Unwritten | Finding::Accepted(_) => true,
            Finding::Written(_) | Finding::Unproven(_) => false,
        })
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
    if let Ok(subscriber) = source.reverse_subscriber() {
        subscriber.restore_logins(armed).await?;
    }
    Ok(Proof::new(
        format!("{} has its former pg_hba.conf and logins", source.name()),
        json!({ "logins": armed.nologin_roles, "hba": former.hba.is_some() }),
    ))
}

/// Applications are parked meanwhile.
const NAMING: Duration = Duration::from_millis(100);
/// More make no message clearer.
const NAMED: usize = 8;
