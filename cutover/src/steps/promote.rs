//! Forward the target becomes a primary; backward the source gets what the reverse
//! stream does not carry.

use futures_util::future::try_join_all;
use pointsman_catalog::UnixMillis;
use serde_json::json;

use super::{Failure, Proof, Run, catch_up, prove, sessions::Both};
use crate::{
    Settings,
    migration::Migration,
    ports::{ControlledServer, PromoteAnswer, PromoteGuard},
};

pub(super) async fn forward(run: &mut Run<'_>) -> Result<Proof, Failure> {
    prove::source_still_fenced(run).await?;
    let settings = *run.settings;
    let marker = catch_up::marker(run.migration)?;
    let token_timeline = run.migration.facts.source_timeline;
    let target = run.target().await?;
    let guard = PromoteGuard {
        marker: marker.lsn,
        deadline: deadline(run.migration, &*target, &settings).await?,
    };
    let answer = target.guarded_promotion()?.promote(&guard).await?;
    if answer == PromoteAnswer::Refused {
        return Err(Failure::unprovable(format!(
            "{} refused to promote: it has not replayed {}, or a database on it is open, or the \
             deadline has passed on its clock",
            target.name(),
            guard.marker
        )));
    }
    let observed = target
        .guarded_promotion()?
        .await_primary(settings.promote)
        .await?;
    let fork = observed.replayed.unwrap_or_default();
    if observed.timeline <= token_timeline || fork < marker.lsn {
        return Err(Failure::unprovable(format!(
            "{} is a primary on timeline {} that forked at {fork}; the token says timeline \
             {token_timeline} and {}",
            target.name(),
            observed.timeline,
            marker.lsn
        )));
    }
    let facts = &mut run.migration.facts;
    facts.target_timeline = Some(observed.timeline);
    facts.fork = Some(fork);
    facts.promote_deadline = Some(guard.deadline);
    Ok(Proof::new(
        format!(
            "{} is a primary on timeline {}",
            target.name(),
            observed.timeline
        ),
        json!({ "timeline": observed.timeline, "fork": fork, "answer": answer }),
    ))
}

/// The journalled deadline while there is time left, by the engine's clock: the server's
/// decides. Past it the former request cannot take effect any more, and this one is made
/// under a deadline of its own.
async fn deadline(
    migration: &Migration,
    target: &ControlledServer,
    settings: &Settings,
) -> Result<UnixMillis, Failure> {
    let soonest = UnixMillis::now().plus(settings.promote / 2);
    match migration.facts.promote_deadline {
        Some(deadline) if deadline > soonest => Ok(deadline),
        _ => Ok(target.observe().await?.clock.plus(settings.promote)),
    }
}

/// Sequences are not replicated: each gets the target's value. Then the stream stops.
pub(super) async fn reverse(run: &mut Run<'_>) -> Result<Proof, Failure> {
    let moving = run.migration.moving();
    let both = run.both().await?;
    let mut copies = Vec::with_capacity(moving.len());
    for datname in &moving {
        copies.push(carry_sequences(&both, datname));
    }
    let sequences: usize = try_join_all(copies).await?.into_iter().sum();
    both.source
        .reverse_subscriber()?
        .disable_subscriptions(&moving)
        .await?;
    Ok(Proof::new(
        format!("{sequences} sequences carried over, the reverse stream is stopped"),
        json!({ "sequences": sequences }),
    ))
}

async fn carry_sequences(both: &Both, datname: &str) -> Result<usize, Failure> {
    let values = both.target.reverse_publisher()?.sequences(datname).await?;
    both.source
        .reverse_subscriber()?
        .set_sequences(datname, &values)
        .await?;
    Ok(values.len())
}
