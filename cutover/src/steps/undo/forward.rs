use std::time::Duration;

use serde_json::json;

use super::{RETRY, recorded};
use crate::{
    machine::{Assertion, Direction, Event, PromotionDeadline, Side, Step},
    migration::Migration,
    ports::{AccessRules, Clock, PromotionProgress, ProviderError},
    steps::{
        Failure, Problem, Proof, Run,
        cut_off::cut_off_standby,
        others, prime, prove,
        routes::{Readers, convergence_message},
        sessions::Both,
        slots, standing, synchronous, taken_down,
    },
};

/// The source becomes the writer again.
pub(in crate::steps) async fn run(run: &mut Run<'_>, step: Step) -> Result<Proof, Failure> {
    if step == Step::Prepare {
        standing::writers_are_where_they_were(run).await?;
        return Ok(Proof::new("nothing had been changed", json!({})));
    }
    let mut seen = "the target was not asked: nothing was closed".to_owned();
    if step >= Step::Fence {
        seen = target_is_harmless(run, step).await?;
        others::none_promoted(run).await?;
        if let Some(released) = unfence_source(run, step).await? {
            seen = format!("{seen}; {released}");
        }
    }
    let Migration { source, target, .. } = run.migration;
    // Before the fence nothing was closed: readers are served where they were.
    let readers = if step < Step::Fence {
        Readers::AsBefore
    } else {
        Readers::WithoutTarget
    };
    let publication = run.routes().serve(source, readers).await?;
    let convergence = run.routes().converge(&publication).await;
    let mut message = format!(
        "{source} serves; {seen}; {}",
        convergence_message(&convergence)
    );
    // The target must be rebuilt: no other switch of this migration follows.
    if !step.can_be_undone(Direction::Forward) {
        for forgotten in [forget_preparation(run).await, forget_slots(run).await] {
            if let Err(failure) = forgotten {
                message = format!(
                    "{message}; left behind, to be dropped by hand: {}",
                    failure.message
                );
            }
        }
    }
    let proof = Proof::new(
        message,
        json!({
            "sequence": publication.sequence,
            "epochs": publication.epochs,
            "convergence": convergence,
        }),
    );
    let mut former = run.migration.facts.former_readers().values();
    let moved = step >= Step::Fence && former.any(|readers| readers.contains(target));
    Ok(Proof {
        event: if moved {
            Event::DoneReadersMoved
        } else {
            Event::Done
        },
        ..proof
    })
}

async fn forget_preparation(run: &mut Run<'_>) -> Result<(), Failure> {
    let moving = run.migration.moving();
    let source = run.source().await?;
    taken_down::take_down(&source, &moving).await
}

/// Nobody reads the reverse slots of a target that will be rebuilt, nor the slot by which it was fed.
/// Either would keep WAL until a disk is full. A step that failed half-way has not said which it made.
async fn forget_slots(run: &mut Run<'_>) -> Result<(), Failure> {
    let moving = run.migration.moving();
    let source = run.source().await?;
    // A standby that was cut off has lost it already.
    slots::drop_standby_slot(run, &source).await?;
    let target = run.target().await.map_err(|failure| Failure {
        message: format!(
            "the reverse slots on {}, should it come back: {}",
            run.migration.target, failure.message
        ),
        ..failure
    })?;
    if target.observe().await?.in_recovery {
        return Ok(());
    }
    if let Ok(publisher) = target.reverse_publisher() {
        let reverse = publisher.slots_there(&moving).await?;
        publisher.drop_slots(&reverse).await?;
    }
    synchronous::give_back(run, &target).await
}

/// Opening the source needs proof that the target is no second writer. Before the intent
/// to promote the journal itself is that proof; after it, the target must be a closed
/// primary without writes, or a standby that can hear nothing of the opening.
async fn target_is_harmless(run: &mut Run<'_>, step: Step) -> Result<String, Failure> {
    let promote_asked = step >= Step::Promote;
    let asserted_down = run.migration.machine.holds(Assertion::TargetDown);
    let clock = run.clock();
    let look = match patience(run).filter(|_| !promote_asked) {
        None => look_at_target(run, promote_asked).await,
        Some(patience) => clock
            .timeout(patience, look_at_target(run, promote_asked))
            .await
            .unwrap_or_else(|_elapsed| Err(silent(run.migration, patience))),
    };
    match look {
        Ok(seen) => Ok(seen),
        // Before the intent the journal is the proof; an error of the target's says nothing of its role.
        Err(failure) if !promote_asked && says_no_role(failure.problem) => {
            Ok(format!("the target's role is unknown: {}", failure.message))
        }
        Err(failure) if !failure.is_unanswered() => Err(failure),
        Err(failure) if asserted_down && failure.is_silent() => {
            await_engine_clock(clock, run.migration.facts.promotion_deadline()).await;
            Ok(format!(
                "an operator asserted that the target is down for good ({})",
                failure.message
            ))
        }
        Err(failure) => Err(Failure::unprovable(format!(
            "promotion was asked for and the target does not answer: {}; whether it is a writer is \
             not known",
            failure.message
        ))),
    }
}

/// Whether a failed look leaves open what the target is: it is silent, or refuses the control role.
fn says_no_role(problem: Problem) -> bool {
    match problem {
        Problem::Unanswered
        | Problem::Starting
        | Problem::TimedOut
        | Problem::SessionsLeft
        | Problem::Rejected
        | Problem::Unfit => true,
        Problem::Superseded
        | Problem::MissingFact
        | Problem::ConditionNotMet
        | Problem::TargetUnwritten
        | Problem::Unprovable
        | Problem::StreamBroken
        | Problem::MovedByHand
        | Problem::SourceDisturbed => false,
    }
}

/// While clients are parked, a target that falls silent must not cost them the rest of their
/// hold: the source is opened with what is left.
fn patience(run: &Run<'_>) -> Option<Duration> {
    let left = run.migration.facts.hold_until()?.since(run.clock().now());
    (!left.is_zero()).then(|| (left / 2).max(SHORTEST_LOOK))
}

fn silent(migration: &Migration, waited: Duration) -> Failure {
    Failure::from(ProviderError::Unreachable {
        server: migration.target.clone(),
        reason: format!("no answer within {waited:?}"),
    })
}

async fn look_at_target(run: &mut Run<'_>, promote_asked: bool) -> Result<String, Failure> {
    let managed = run.managed_promotion().await?;
    if let Some(api) = managed.as_ref().filter(|_| promote_asked)
        && let Ok(PromotionProgress::Gone { said }) = api.progress().await
    {
        return Ok(format!("the target does not exist any more: {said}"));
    }
    let asked = run.migration.facts.asked_promotion();
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
            // One that does not say where its recovery ended had replayed this much before.
            let replayed = observed
                .replayed
                .or_else(|| asked.map(|asked| asked.replayed));
            let Some(fork) = replayed else {
                return Err(Failure::unprovable(format!(
                    "{} is a primary and does not say where its recovery ended",
                    target.name()
                )));
            };
            let record = prove::full_record(run, Side::Source)?;
            let facts = &run.migration.facts;
            let since = facts.token()?.marker.look.on_promoted(fork);
            if prime::unwritten(&target, &record, &since, facts.exempt()).await {
                Ok("the target is a closed primary that nobody wrote to".to_owned())
            } else {
                Err(Failure::unprovable(format!(
                    "{} is a primary and may have been written to",
                    target.name()
                )))
            }
        }
        (true, true) if managed.is_some() || asked.is_some() => Err(Failure::unprovable(format!(
            "{} is a standby whose promotion an API was asked for: it cannot be called back and \
             not be cut off, and may come through at any time",
            target.name()
        ))),
        (true, true) => cut_off(run).await,
    }
}

/// The target is a standby although promotion was asked for. The request may still be
/// under way, so the target must hear nothing of the opening.
async fn cut_off(run: &mut Run<'_>) -> Result<String, Failure> {
    let deadline = run.migration.facts.promotion_deadline();
    let Both { source, target } = run.both().await?;
    let patience = run.settings.undo;
    let slot = cut_off_standby(run.clock(), &source, &target, deadline, patience).await?;
    Ok(format!(
        "the target is a standby, cut off from the source (slot {slot} dropped)"
    ))
}

/// A promotion that was sent and not answered cannot take effect past its deadline.
async fn await_engine_clock(clock: &dyn Clock, deadline: Option<PromotionDeadline>) {
    let Some(PromotionDeadline(deadline)) = deadline else {
        return;
    };
    let left = deadline.plus(CLOCK_MARGIN).since(clock.now());
    clock.sleep(left).await;
}

async fn unfence_source(run: &mut Run<'_>, step: Step) -> Result<Option<String>, Failure> {
    let clock = run.clock();
    let give_up = clock.deadline(run.settings.undo);
    loop {
        match try_unfence_source(run, step).await {
            Err(failure) if failure.is_unanswered() && !give_up.has_passed() => {
                run.sessions.clear();
                clock.sleep(RETRY).await;
            }
            outcome => break outcome,
        }
    }
}

async fn try_unfence_source(run: &mut Run<'_>, step: Step) -> Result<Option<String>, Failure> {
    let wait = run.budgets.source.end_sessions;
    // Attaching ends the former session first: what it still had under way is decided when
    // the record is read.
    run.source().await?;
    let closed = recorded(run, Side::Source).await?;
    let source = run.source().await?;
    let Some(closed) = closed else {
        return Ok(None);
    };
    source.fence()?.restore_access_rules(&closed).await?;
    source
        .fence()?
        .await_access_rules(AccessRules::Former, wait)
        .await?;
    // Before the intent to promote the target is its standby still.
    let released = match step.can_be_undone(Direction::Forward) {
        true => None,
        false => synchronous::release(run, &source).await?,
    };
    taken_down::reopen(&source, &closed, &run.migration.moving()).await?;
    Ok(released)
}

/// More than two clocks kept by NTP differ.
const CLOCK_MARGIN: Duration = Duration::from_secs(1);
/// A server that answers at all does so within this time.
const SHORTEST_LOOK: Duration = Duration::from_millis(200);
