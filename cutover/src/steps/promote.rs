//! Forward the target becomes a primary; backward the source gets what the reverse
//! stream does not carry.

use futures_util::future::try_join_all;
use serde_json::json;

use super::{Failure, Problem, Proof, Run, durable, fence, prove, readiness, sessions::Both};
use crate::{
    Lsn,
    machine::PromotionDeadline,
    migration::{Learned, Promotion},
    ports::{ControlledServer, FenceToken, LeftTimeline, Observation, PromoteAnswer},
};

pub(super) async fn forward(run: &mut Run<'_>) -> Result<Proof, Failure> {
    if run.managed_promotion().await?.is_some() {
        return Ok(readiness::observed_from_now_on(run.migration));
    }
    let (token, learned) = prove::token_of_a_fence_that_holds(run).await?;
    let expected = token.clone();
    let target = run.target().await?;
    let deadline = deadline(run, &target).await?;
    let promoting = target.guarded_promotion()?;
    let answer = promoting.promote(token, deadline.0).await?;
    if answer == PromoteAnswer::Refused {
        return Err(Failure::unprovable(format!(
            "{} refused to promote: it has not replayed {}, or a database on it is open, or the \
             deadline has passed on its clock",
            target.name(),
            expected.marker.lsn
        )));
    }
    let observed = promoting.await_primary(run.budgets.target.promote).await?;
    let promotion = follows_from(&expected, &observed, observed.replayed, &target)?;
    let left = branches_from(&expected, &target).await?;
    let proof = Proof::new(
        format!(
            "{} is a primary on timeline {}{}",
            target.name(),
            promotion.timeline,
            not_known(left, &expected)
        ),
        json!({
            "timeline": promotion.timeline,
            "fork": promotion.fork,
            "left_timeline": left,
            "answer": answer,
        }),
    );
    let proof = proof.learning(Learned::Promoted {
        promotion,
        deadline: Some(deadline),
    });
    Ok(learned.into_iter().fold(proof, Proof::learning))
}

/// The journalled deadline, if it serves by the engine's clock: the server's decides. Another one is put on
/// record first, and used by the next try: an undo waits for what is on record.
async fn deadline(run: &Run<'_>, target: &ControlledServer) -> Result<PromotionDeadline, Failure> {
    let promote = run.budgets.target.promote;
    let now = run.clock().now();
    let known = run.migration.facts.promotion_deadline();
    if let Some(known) = known.filter(|known| known.serves(now, promote)) {
        return Ok(known);
    }
    let observed = target.observe().await?;
    let next = PromotionDeadline::from_target_clock(observed.clock, promote);
    let why = format!(
        "the deadline of the promotion of {} has passed; the next try has another one",
        target.name()
    );
    Err(Failure::new(Problem::Unanswered, why).learning(Learned::PromotionDeadline(next)))
}

/// The promotion is the one that `token` allowed: its timeline forks from the token's at the
/// marker or after it.
pub(super) fn follows_from(
    token: &FenceToken,
    observed: &Observation,
    fork: Option<Lsn>,
    target: &ControlledServer,
) -> Result<Promotion, Failure> {
    let Some(fork) = fork else {
        return Err(Failure::unprovable(format!(
            "{} is a primary on timeline {} and does not say where its recovery ended",
            target.name(),
            observed.timeline
        )));
    };
    if observed.timeline <= token.timeline || fork < token.marker.lsn {
        return Err(Failure::unprovable(format!(
            "{} is a primary on timeline {} that forked at {fork}; the token says timeline {} and {}",
            target.name(),
            observed.timeline,
            token.timeline,
            token.marker.lsn
        )));
    }
    Ok(Promotion {
        timeline: observed.timeline,
        fork,
    })
}

/// The target's history names the token's timeline, and left it at the marker or behind it. A position
/// alone does not say so: a server that was restored from before the fence, was promoted, wrote, and
/// became a standby again is far enough by its position, and lacks what the source acknowledged.
pub(super) async fn branches_from(
    token: &FenceToken,
    target: &ControlledServer,
) -> Result<LeftTimeline, Failure> {
    let left = target.left_timeline(token.timeline).await?;
    let (name, timeline, marker) = (target.name(), token.timeline, token.marker.lsn);
    match left {
        LeftTimeline::At(lsn) if lsn < marker => Err(Failure::unprovable(format!(
            "{name} left timeline {timeline} at {lsn}, before the marker {marker}: it lacks what {} \
             acknowledged in between, and went another way since",
            token.server
        ))),
        LeftTimeline::Never => Err(Failure::unprovable(format!(
            "the history of {name} does not name timeline {timeline}, on which {} was closed",
            token.server
        ))),
        LeftTimeline::At(_) | LeftTimeline::NotKnown => Ok(left),
    }
}

/// Says what the proof of a promotion does not rest on.
pub(super) fn not_known(left: LeftTimeline, token: &FenceToken) -> String {
    match left {
        LeftTimeline::NotKnown => format!(
            "; where it left timeline {} is not known, since the control role cannot read its history",
            token.timeline
        ),
        LeftTimeline::At(_) | LeftTimeline::Never => String::new(),
    }
}

/// Sequences are not replicated: each gets the target's value. Then the stream stops, and the
/// source is looked at: the next step lets superusers in.
pub(super) async fn reverse(run: &mut Run<'_>) -> Result<Proof, Failure> {
    let moving = run.migration.moving();
    let both = run.both().await?;
    let waits_no_more = durable::put_back(run, &both.target).await?;
    let proof = match both.source.reverse_subscriber() {
        Err(missing) => Proof::new(
            "there is no reverse stream to stop; sequences stay as they were at the switch",
            json!({ "sequences": 0, "missing": missing.to_string() }),
        ),
        Ok(subscriber) => {
            let mut copies = Vec::with_capacity(moving.len());
            for datname in &moving {
                copies.push(carry_sequences(&both, datname));
            }
            let sequences: usize = try_join_all(copies).await?.into_iter().sum();
            subscriber.disable_subscriptions(&moving).await?;
            Proof::new(
                format!("{sequences} sequences carried over, the reverse stream is stopped"),
                json!({ "sequences": sequences }),
            )
        }
    };
    let id = fence::marker_id(run.migration);
    let marker = both.source.wal_proof()?.marker(&id, &[]).await?;
    let proof = proof.learning(Learned::SourceAdmits(marker.look));
    Ok(waits_no_more.into_iter().fold(proof, Proof::learning))
}

/// How many there were. What the source lacks was named before anybody was held.
async fn carry_sequences(both: &Both, datname: &str) -> Result<usize, Failure> {
    let values = both.target.reverse_publisher()?.sequences(datname).await?;
    let subscriber = both.source.reverse_subscriber()?;
    Ok(subscriber.set_sequences(datname, &values).await?)
}
