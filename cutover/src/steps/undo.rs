//! Back to where the switch began, by proof.

use std::time::Duration;

use pointsman_catalog::UnixMillis;
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

use super::{
    Failure, Proof, Run, fence, prime, prove,
    routes::{Readers, convergence_words},
};
use crate::{
    machine::Step,
    migration::Migration,
    ports::{AccessRules, FormerSettings, ProviderError},
};

/// The source becomes the writer again.
pub(super) async fn forward(run: &mut Run<'_>, step: Step) -> Result<Proof, Failure> {
    if step == Step::Prepare {
        return Ok(Proof::new("nothing had been changed", json!({})));
    }
    let mut seen = "the target was not asked: nothing was closed".to_owned();
    if step >= Step::Fence {
        seen = target_is_harmless(run, step).await?;
        unfence_source(run).await?;
    }
    let source = run.migration.source.clone();
    let on_target = |readers: &Vec<_>| readers.contains(&run.migration.target);
    let readers_wait = run.migration.facts.former_readers.values().any(on_target);
    // A promoted target is no reader of the source any more.
    run.migration.facts.readers_wait = readers_wait && (Step::Fence..Step::Promote).contains(&step);
    // Before the fence nothing was closed: readers are served where they were.
    let readers = if step < Step::Fence {
        Readers::AsBefore
    } else {
        Readers::WithoutTarget
    };
    let publication = run.publish_serve(&source, readers).await?;
    let convergence = run.named_convergence(&publication).await;
    Ok(Proof::new(
        format!(
            "{source} serves; {seen}; {}",
            convergence_words(&convergence)
        ),
        json!({
            "sequence": publication.sequence,
            "epochs": publication.epochs,
            "convergence": convergence,
        }),
    ))
}

/// Opening the source needs proof that the target is no second writer. Before the intent
/// to promote the journal itself is that proof; after it, the target must be a closed
/// primary without writes, or a standby that can hear nothing of the opening.
async fn target_is_harmless(run: &mut Run<'_>, step: Step) -> Result<String, Failure> {
    let promote_asked = step >= Step::Promote;
    let asserted_down = run.migration.facts.target_asserted_down;
    let look = match patience(run.migration).filter(|_| !promote_asked) {
        None => look_at_target(run, promote_asked).await,
        Some(patience) => timeout(patience, look_at_target(run, promote_asked))
            .await
            .unwrap_or_else(|_elapsed| Err(silent(run.migration, patience))),
    };
    match look {
        Ok(words) => Ok(words),
        Err(failure) if !failure.unreachable => Err(failure),
        Err(failure) if !promote_asked => {
            Ok(format!("the target's role is unknown: {}", failure.words))
        }
        Err(failure) if asserted_down => {
            await_engine_clock(run.migration.facts.promote_deadline).await;
            Ok(format!(
                "an operator asserted that the target is down for good ({})",
                failure.words
            ))
        }
        Err(failure) => Err(Failure::unprovable(format!(
            "promotion was asked for and the target does not answer: {}; whether it is a writer is \
             not known",
            failure.words
        ))),
    }
}

/// While clients are parked, a target that falls silent must not cost them the rest of their
/// hold: the source is opened with what is left.
fn patience(migration: &Migration) -> Option<Duration> {
    let left = migration.facts.hold_until?.since(UnixMillis::now());
    (!left.is_zero()).then(|| (left / 2).max(SHORTEST_LOOK))
}

fn silent(migration: &Migration, waited: Duration) -> Failure {
    Failure::from(ProviderError::Unreachable {
        server: migration.target.clone(),
        reason: format!("no answer within {waited:?}"),
    })
}

async fn look_at_target(run: &mut Run<'_>, promote_asked: bool) -> Result<String, Failure> {
    let record = prove::full_record(run.migration, true);
    let facts = run.migration.facts.clone();
    let target = run.target().await?;
    let observed = target.observe().await?;
    match (observed.in_recovery, promote_asked) {
        (true, false) => Ok("the target is a standby".to_owned()),
        (false, false) => Err(Failure::unprovable(format!(
            "{} is a primary on timeline {}, and this migration did not promote it; both servers \
             stay closed until an operator decides",
            target.name(),
            observed.timeline
        ))),
        (false, true) => {
            let fork = observed.replayed.unwrap_or_default();
            if prime::unwritten(&*target, &record, fork, &facts.exempt).await {
                Ok("the target is a closed primary that nobody wrote to".to_owned())
            } else {
                Err(Failure::unprovable(format!(
                    "{} is a primary and may have been written to",
                    target.name()
                )))
            }
        }
        (true, true) => cut_off(run).await,
    }
}

/// The target is a standby although promotion was asked for. The request may still be
/// under way, so the target must hear nothing of the opening, and the request's own
/// deadline must have passed on the target's clock.
async fn cut_off(run: &mut Run<'_>) -> Result<String, Failure> {
    let deadline = run.migration.facts.promote_deadline;
    let target = run.target().await?;
    let link = target.replication()?.standby_link().await?;
    let slot = link.slot.filter(|_| link.restore_command.is_empty());
    let Some(slot) = slot else {
        return Err(Failure::unprovable(
            "the target is a standby that cannot be cut off from the source's WAL (no replication \
             slot of its own, or a restore_command): a late promotion could come up open",
        ));
    };
    let give_up = Instant::now() + run.settings.undo;
    while deadline.is_some_and(|deadline| deadline > UnixMillis(0)) {
        let clock = target.observe().await?.clock;
        if deadline.is_some_and(|deadline| clock > deadline) {
            break;
        }
        if Instant::now() >= give_up {
            return Err(Failure::unprovable(
                "the target's clock did not pass the promotion's deadline",
            ));
        }
        sleep(POLL).await;
    }
    let source = run.source().await?;
    source.replication()?.cut_off_standby(&slot).await?;
    Ok(format!(
        "the target is a standby, cut off from the source (slot {slot} dropped)"
    ))
}

/// A promotion that was sent and not answered cannot take effect past its deadline.
async fn await_engine_clock(deadline: Option<UnixMillis>) {
    let Some(deadline) = deadline else { return };
    let deadline = deadline.plus(CLOCK_MARGIN);
    let now = UnixMillis::now();
    sleep(deadline.since(now)).await;
}

async fn unfence_source(run: &mut Run<'_>) -> Result<(), Failure> {
    let give_up = Instant::now() + run.settings.undo;
    loop {
        match try_unfence_source(run).await {
            Err(failure) if failure.unreachable && Instant::now() < give_up => {
                run.sessions.clear();
                sleep(RETRY).await;
            }
            outcome => break outcome,
        }
    }
}

async fn try_unfence_source(run: &mut Run<'_>) -> Result<(), Failure> {
    let wait = run.settings.end_sessions;
    // Attaching ends the former session first: what it still had under way is decided when
    // the record is read.
    run.source().await?;
    let closed = recorded(run, true).await?;
    let source = run.source().await?;
    let Some(closed) = closed else { return Ok(()) };
    source.fence()?.restore_access_rules(&closed).await?;
    source
        .fence()?
        .await_access_rules(AccessRules::Former, wait)
        .await?;
    source.fence()?.reopen(&closed, &[]).await?;
    Ok(())
}

/// The former settings as the fence left them in the server; a crash can have lost the
/// journal's copy, never the server's.
async fn recorded(run: &mut Run<'_>, source: bool) -> Result<Option<FormerSettings>, Failure> {
    let migration: &Migration = run.migration;
    let (name, journalled) = if source {
        (&migration.source, &migration.facts.closed_source)
    } else {
        (&migration.target, &migration.facts.closed_target)
    };
    let server = run.ports.catalog.server(name).await?;
    let record = run
        .ports
        .providers
        .of(&server)?
        .fence_record(&server)
        .await?;
    let ours = record.filter(|record| record.migration == migration.name && record.server == *name);
    Ok(ours
        .map(|record| record.former)
        .or_else(|| journalled.clone()))
}

/// The target, which served when the rollback began, serves again.
pub(super) async fn reverse(run: &mut Run<'_>, step: Step) -> Result<Proof, Failure> {
    if step == Step::Prepare {
        return Ok(Proof::new("nothing had been changed", json!({})));
    }
    let mut left_open = None;
    if step >= Step::Promote {
        // It was about to open. Where it does not answer now, arming closes it again.
        let closed = close_source(run).await;
        left_open = closed.err().map(|failure| failure.words);
    }
    if step >= Step::Fence {
        let give_up = Instant::now() + run.settings.undo;
        loop {
            match reopen_target(run).await {
                Err(failure) if failure.unreachable && Instant::now() < give_up => {
                    run.sessions.clear();
                    sleep(RETRY).await;
                }
                outcome => break outcome,
            }
        }?;
    }
    let target = run.migration.target.clone();
    let publication = run.publish_serve(&target, Readers::OnTarget).await?;
    let convergence = run.named_convergence(&publication).await;
    Ok(Proof::new(
        format!("{target} serves on; {}", convergence_words(&convergence)),
        json!({
            "sequence": publication.sequence,
            "convergence": convergence,
            "source_not_closed": left_open,
        }),
    ))
}

async fn close_source(run: &mut Run<'_>) -> Result<(), Failure> {
    let record = fence::record(run.migration, true);
    let wait = run.settings.end_sessions;
    let source = run.source().await?;
    source.fence()?.close(&record).await?;
    source.sessions()?.await_starting_backends().await?;
    source.sessions()?.end_sessions(&[], wait).await?;
    Ok(())
}

async fn reopen_target(run: &mut Run<'_>) -> Result<(), Failure> {
    run.target().await?;
    let closed = recorded(run, false).await?;
    let staying = run.migration.staying_closed();
    let wait = run.settings.end_sessions;
    let target = run.target().await?;
    if let Some(closed) = closed {
        target.fence()?.restore_access_rules(&closed).await?;
        target
            .fence()?
            .await_access_rules(AccessRules::Former, wait)
            .await?;
        let xids = target.fence()?.reopen(&closed, &staying).await?;
        run.migration.facts.exempt.xids.extend(&xids);
    }
    run.migration.facts.closed_target = None;
    Ok(())
}

/// More than two clocks kept by NTP differ.
const CLOCK_MARGIN: Duration = Duration::from_secs(1);
/// A server that answers at all does so within this time.
const SHORTEST_LOOK: Duration = Duration::from_millis(200);
const RETRY: Duration = Duration::from_millis(50);
const POLL: Duration = Duration::from_millis(20);
