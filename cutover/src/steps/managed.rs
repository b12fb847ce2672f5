//! A managed promotion: an API is asked once, then the target is observed until it is through.

use std::sync::Arc;

use serde_json::json;

use super::{Failure, Problem, Proof, Run, promote, prove, readiness, source_watch};
use crate::{
    machine::{Event, PromotionStage, Side, State},
    migration::Learned,
    ports::{
        ControlledServer, FenceRecord, ManagedPromotion, MissingRole, PromotionProgress,
        RequestAnswer, ServerRole,
    },
};

/// Sends the request. Its intent is on record, and what it takes was proved right before that.
pub(super) async fn request(run: &mut Run<'_>) -> Result<Proof, Failure> {
    let token = run.migration.facts.token()?.clone();
    let target = &run.migration.target;
    let answer = api(run).await?.request(token).await?;
    match answer {
        RequestAnswer::Accepted => Ok(Proof::new(
            format!("the API was asked to promote {target}, and accepted"),
            json!({}),
        )),
        RequestAnswer::Refused { reason } => Err(Failure::condition(format!(
            "the API refused to promote {target}: {reason}"
        ))),
    }
}

/// Looks once, at the source's fence first. A promotion that is late is a failure and changes
/// nothing else: the next look comes all the same.
pub(super) async fn observe(run: &mut Run<'_>) -> Result<Proof, Failure> {
    let unwatched = source_watch::look(run).await?;
    let seen = look(run).await;
    let seen = watched(run, seen, unwatched);
    let waits = match &seen {
        Ok(proof) if matches!(proof.event, Event::NotYet | Event::NotReceived) => &proof.message,
        Err(failure) if failure.is_unanswered() => &failure.message,
        Ok(_) | Err(_) => return seen,
    };
    match overdue(run) {
        Some(late) => Err(Failure::new(Problem::TimedOut, format!("{late}: {waits}"))),
        None => seen,
    }
}

/// What was seen, and if nothing is new, that the source's fence could not be looked at.
fn watched(
    run: &Run<'_>,
    seen: Result<Proof, Failure>,
    unwatched: Option<String>,
) -> Result<Proof, Failure> {
    match (unwatched, seen) {
        (Some(why), Ok(proof)) if proof.event == Event::NotYet => Err(Failure {
            server: Some(run.migration.source.clone()),
            ..Failure::new(
                Problem::Unanswered,
                format!(
                    "{}; the source's fence was not looked at: {why}",
                    proof.message
                ),
            )
        }),
        (_, seen) => seen,
    }
}

/// Why it is time to ask an operator, once it is.
fn overdue(run: &Run<'_>) -> Option<String> {
    let since = run.migration.machine.promotion_awaited_since()?;
    let patience = run.migration.facts.promotion_outlook()?.patience;
    let late = run.clock().now() >= since.plus(patience);
    let target = &run.migration.target;
    late.then(|| format!("{target} was not promoted within {patience:?}"))
}

async fn look(run: &mut Run<'_>) -> Result<Proof, Failure> {
    let target = run.migration.target.clone();
    match api(run).await?.progress().await? {
        PromotionProgress::NotReceived => ready_again(run).await,
        PromotionProgress::UnderWay { said } => Ok(seen(
            Event::NotYet,
            format!("{target} is being promoted: {said}"),
        )),
        PromotionProgress::Promoted | PromotionProgress::Unknown => look_at_target(run).await,
        PromotionProgress::Failed { reason } => Err(Failure::condition(format!(
            "the API says that the promotion of {target} failed: {reason}"
        ))),
        PromotionProgress::Gone { said } => Ok(seen(
            Event::TargetGone,
            format!("{target} does not exist any more: {said}"),
        )),
    }
}

/// The request may be sent after all, and everything is proved again first; where an operator
/// decides, nothing is.
async fn ready_again(run: &mut Run<'_>) -> Result<Proof, Failure> {
    let message = "the API never received the request".to_owned();
    let stage = PromotionStage::Stalled;
    if run.migration.state() == (State::Promoting { stage }) {
        return Ok(seen(Event::NotYet, message));
    }
    let (token, learned) = prove::token_of_a_fence_that_holds(run).await?;
    let record = prove::full_record(run, Side::Source)?;
    let asked = readiness::before_the_request(run, &record, &token).await?;
    let learned = learned
        .into_iter()
        .chain(asked.map(Learned::PromotionAsked));
    Ok(learned.fold(seen(Event::NotReceived, message), Proof::learning))
}

/// The sessions of before ended with the promotion. The server itself must show that it is the
/// primary that the token allowed, closed and empty; the step behind this one proves from its
/// WAL whether anybody wrote.
async fn look_at_target(run: &mut Run<'_>) -> Result<Proof, Failure> {
    let facts = &run.migration.facts;
    let (token, end) = (facts.token()?, run.budgets.target.end_sessions);
    let record = prove::full_record(run, Side::Source)?;
    let target = run.target().await?;
    let observed = target.observe().await?;
    if observed.in_recovery {
        let message = format!("{} is a standby still", target.name());
        return Ok(seen(Event::NotYet, message));
    }
    // A server that does not say where its recovery ended had replayed this much before.
    let before = facts.asked_promotion().map(|asked| asked.replayed);
    let fork = observed.replayed.or(before);
    let promotion = promote::follows_from(token, &observed, fork, &target)?;
    let left = promote::branches_from(token, &target).await?;
    let ended = target.sessions()?.end_sessions(&[], end).await?;
    closed(&target, &record).await?;
    let proof = Proof::new(
        format!(
            "{} is a primary on timeline {}, closed{}",
            target.name(),
            promotion.timeline,
            promote::not_known(left, token)
        ),
        json!({
            "timeline": promotion.timeline,
            "fork": promotion.fork,
            "left_timeline": left,
            "sessions_ended": ended,
        }),
    );
    Ok(proof.learning(Learned::Promoted {
        promotion,
        deadline: None,
    }))
}

async fn closed(target: &ControlledServer, record: &FenceRecord) -> Result<(), Failure> {
    match target.fence()?.breaches(record, &[]).await?.first() {
        None => Ok(()),
        Some(breach) => Err(Failure::unprovable(format!(
            "{} came up as a primary that is not closed: {}",
            target.name(),
            breach.message
        ))),
    }
}

fn seen(event: Event, message: String) -> Proof {
    Proof {
        event,
        ..Proof::new(message, json!({}))
    }
}

async fn api(run: &Run<'_>) -> Result<Arc<dyn ManagedPromotion>, Failure> {
    let api = run.managed_promotion().await?;
    Ok(api.ok_or_else(|| MissingRole {
        server: run.migration.target.clone(),
        role: ServerRole::ManagedPromotion,
        reason: "the provider that promoted it by an API does not reach it any more".to_owned(),
        remedy: "start this control plane with that provider".to_owned(),
    })?)
}
