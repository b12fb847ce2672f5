//! Before anything is changed: sessions, identity, checks, fleet.

mod expectations;
mod lag;

use std::time::Duration;

use futures_util::future::try_join;
use serde_json::json;

use super::{
    Failure, Proof, Run, bake_watch, catch_up,
    left_out::{left_out, not_carried},
    others,
    outcome::{with_all, with_learned},
    routes::convergence_message,
    sessions::{Both, enter},
};
use crate::{
    checks::{Moment, count},
    lease,
    machine::{Assertion, Direction},
    migration::{Coverage, Learned, Migration},
    ports::{ControlledServer, Membership, Observation, Rehearsal},
    preflight,
};

use expectations::{expect_pair, expect_promotion, expect_roles};
use lag::await_small_lag;

/// `start`: the source gets what a switch needs, and the target has replayed it.
pub(super) async fn set_up(run: &mut Run<'_>) -> Result<Proof, Failure> {
    let both = run.both().await?;
    expect_roles(&both)?;
    let outlook = expect_promotion(run, &both.target).await?;
    let (source, target) = try_join(both.source.observe(), both.target.observe()).await?;
    expect_pair(run.migration, &source, &target, Direction::Forward)?;
    let system_identifier = source.system_identifier.clone();
    let (catalog, name) = (&run.ports.catalog, &run.migration.name);
    lease::acquire(catalog, &system_identifier, name).await?;
    let made = make(run, &both, &source, &target).await;
    let made = with_learned(made, Learned::LeaseTaken { system_identifier });
    with_learned(made, Learned::Outlook(outlook))
}

/// Makes what a switch needs, and waits until the target has it too.
async fn make(
    run: &Run<'_>,
    both: &Both,
    source: &Observation,
    target: &Observation,
) -> Result<Proof, Failure> {
    let moving = run.migration.moving();
    both.source.sessions()?.open_databases(&moving).await?;
    let exempt = both.source.preparation()?.prepare(&moving).await?;
    let made = both.source.wal_proof()?.flush().await?;
    let replay = both
        .target
        .replication()?
        .await_replay(made, run.budgets.target.catch_up * SET_UP_PATIENCE)
        .await?;
    both.target.sessions()?.open_databases(&moving).await?;
    let proof = Proof::new(
        "publication, probe table and fence table are on both servers",
        json!({
            "system_identifier": source.system_identifier,
            "timeline": source.timeline,
            "source_version": source.version,
            "target_version": target.version,
            "replayed": replay.replayed,
        }),
    );
    // Who leaves the source before the switch is asked all the same.
    let standbys = HangsOn::of(both).await?.standbys;
    let proof = proof.learning(Learned::Standbys(standbys));
    Ok(proof.learning(Learned::SetUp {
        timeline: source.timeline,
        exempt,
    }))
}

pub(super) async fn forward(run: &mut Run<'_>) -> Result<Proof, Failure> {
    run.budgets = run.budgets.unhurried();
    let moving = run.migration.moving();
    let both = run.both().await?;
    expect_roles(&both)?;
    let outlook = expect_promotion(run, &both.target).await?;
    let (source, target) = try_join(both.source.observe(), both.target.observe()).await?;
    expect_pair(run.migration, &source, &target, Direction::Forward)?;
    try_join(
        both.source.sessions()?.open_databases(&moving),
        both.target.sessions()?.open_databases(&moving),
    )
    .await?;
    both.source.preparation()?.complete(&moving).await?;
    let report = preflight::run(run.ports, run.settings, run.migration, Moment::Switch)
        .await
        .map_err(|error| Failure::condition(error.to_string()))?;
    if let Some(finding) = report.blocking().next() {
        return Err(Failure::condition(format!(
            "check {} {} blocks: {}; {}",
            finding.id, finding.slug, finding.message, finding.remedy
        )));
    }
    let hangs_on = HangsOn::of(&both).await?;
    others::none_promoted_before(run, &hangs_on.standbys).await?;
    let membership = run.ports.data_plane.membership().await?;
    if let Some(reason) = incomplete(&membership) {
        return Err(Failure::condition(reason));
    }
    let deadline = run.settings.barrier_deadline;
    let rehearsal = run.ports.data_plane.rehearse(deadline).await?;
    if let Some(reason) = vetoed(&rehearsal, deadline) {
        return Err(Failure::condition(reason));
    }
    let proof = Proof::new(
        format!(
            "{} pass, {} in step and took a change that moves nothing",
            count(report.findings.len(), "check"),
            match membership.registered.len() {
                1 => "1 sidecar is".to_owned(),
                more => format!("{more} sidecars are"),
            }
        ),
        json!({
            "timeline": source.timeline,
            "sidecars": membership.registered,
            "rehearsal": rehearsal,
        }),
    );
    let way_back = both.source.reverse_subscriber();
    let way_back = way_back.map(|_| ()).map_err(|missing| missing.to_string());
    let proof = proof
        .learning(Learned::SourceTimeline(source.timeline))
        .learning(Learned::Outlook(outlook))
        .learning(Learned::WayBack(way_back));
    Ok(hangs_on.learned().into_iter().fold(proof, Proof::learning))
}

/// What a switch takes away from either server.
#[derive(Debug)]
struct HangsOn {
    /// The slot by which the source feeds the target.
    slot: Option<String>,
    /// The source's standbys besides the target.
    standbys: Vec<String>,
    /// Which standbys the target's commits would wait for.
    synchronous: String,
}

impl HangsOn {
    async fn of(both: &Both) -> Result<Self, Failure> {
        let (source, target) = (both.source.replication()?, both.target.replication()?);
        let slot = target.standby_link().await?.slot;
        Ok(Self {
            standbys: source.other_standbys(slot.as_deref()).await?,
            synchronous: target.synchronous().await?.names,
            slot,
        })
    }

    fn learned(self) -> [Learned; 3] {
        [
            Learned::StandbySlot(self.slot),
            Learned::Standbys(self.standbys),
            Learned::Synchronous(self.synchronous),
        ]
    }
}

/// Before anybody is held: the source is as it was left, or an operator has given up what others
/// did there.
pub(super) async fn reverse(run: &mut Run<'_>) -> Result<Proof, Failure> {
    run.budgets = run.budgets.unhurried();
    let seen = bake_watch::left_alone(run).await?;
    with_all(ready_to_go_back(run).await, seen)
}

async fn ready_to_go_back(run: &mut Run<'_>) -> Result<Proof, Failure> {
    let moving = run.migration.moving();
    let both = run.both().await?;
    let (source, target) = try_join(both.source.observe(), both.target.observe()).await?;
    expect_pair(run.migration, &source, &target, Direction::Reverse)?;
    others::none_promoted_before(run, run.migration.facts.standbys()).await?;
    both.target.sessions()?.open_databases(&moving).await?;
    if both.source.reverse_subscriber().is_ok() {
        enter(&both.source, &moving).await?;
    }
    let accepted = run.migration.machine.holds(Assertion::LossAccepted);
    let mut counted = count_at_risk(run.migration, &both.target).await;
    if !accepted && !matches!(counted, Ok(0)) && lag::await_stream(run).await? {
        counted = count_at_risk(run.migration, &both.target).await;
    }
    let at_risk = match counted {
        // The operator accepted the loss, also if it cannot be counted.
        Err(_uncountable) if accepted => 0,
        counted => counted?,
    };
    if at_risk > 0 && !accepted {
        return Err(Failure::condition(format!(
            "going back now would lose {at_risk} committed transactions that the reverse stream \
             has not delivered; repair it, or accept the loss (migration rollback {} \
             --accept-loss)",
            run.migration.name
        )));
    }
    if !accepted {
        refuse_unproven(run.migration)?;
        await_small_lag(run).await?;
    }
    let lacking = lacking_sequences(&both, &moving).await?;
    let membership = run.ports.data_plane.membership().await?;
    let mut found = incomplete(&membership).map_or_else(
        || "both servers answer, the fleet is complete".to_owned(),
        |reason| format!("both servers answer; going on although {reason}"),
    );
    if !lacking.is_empty() {
        let lacking = lacking.join(", ");
        found.push_str(&format!(
            "; sequences that {} lacks are left out: {lacking}",
            both.source.name()
        ));
    }
    Ok(Proof::new(
        found,
        json!({
            "writes_at_risk": at_risk,
            "accept_loss": accepted,
            "lacking_sequences": lacking,
        }),
    ))
}

/// The sequences that were made on the target alone, each as `datname.schema.sequence`.
async fn lacking_sequences(both: &Both, moving: &[String]) -> Result<Vec<String>, Failure> {
    let Ok(subscriber) = both.source.reverse_subscriber() else {
        return Ok(Vec::new());
    };
    let mut lacking = Vec::new();
    for datname in moving {
        let sequences = both.target.reverse_publisher()?.sequences(datname).await?;
        let names = subscriber.lacking_sequences(datname, &sequences).await?;
        lacking.extend(names.into_iter().map(|name| format!("{datname}.{name}")));
    }
    Ok(lacking)
}

/// Somebody may have written what no slot holds: only an operator gives that up.
fn refuse_unproven(migration: &Migration) -> Result<(), Failure> {
    let found = migration.facts.not_proven();
    if found.is_empty() {
        return Ok(());
    }
    let found: Vec<_> = found.iter().map(ToString::to_string).collect();
    Err(Failure::condition(format!(
        "that going back loses nothing is not proven: {}; nobody was held; find out what they wrote, \
         or accept the loss (migration rollback {} --accept-loss)",
        found.join("; "),
        migration.name
    )))
}

/// Committed transactions on the serving target that going back would lose, as far as
/// they can be seen while it serves: 0 with a proven stream, whose rest is waited for
/// behind the fence.
pub(crate) async fn writes_at_risk(run: &mut Run<'_>) -> Result<u64, Failure> {
    let target = run.target().await?;
    count_at_risk(run.migration, &target).await
}

async fn count_at_risk(migration: &Migration, target: &ControlledServer) -> Result<u64, Failure> {
    let facts = &migration.facts;
    let stream = facts.stream()?;
    let left_out = left_out(migration, target).await?;
    if let Some(gap) = not_carried(&left_out) {
        return Err(Failure::condition(format!(
            "going back now may lose writes: {gap}; what was written there cannot be counted; \
             accept the loss (migration rollback {} --accept-loss)",
            migration.name
        )));
    }
    let progress = target
        .reverse_publisher()?
        .slot_progress(&stream.slots)
        .await?;
    let all = !progress.is_empty() && progress.len() == stream.slots.len();
    let streams = all && progress.iter().all(|slot| slot.streaming);
    if streams && stream.coverage == Coverage::Complete {
        return Ok(0);
    }
    let since = catch_up::delivered_up_to(facts.promotion()?, stream, &progress);
    let commits = target
        .wal_proof()?
        .user_commits(since, facts.exempt())
        .await?;
    let repair = match facts.no_way_back() {
        None => "repair the stream, or accept the loss",
        Some(_) => "there is no stream to repair; accept the loss",
    };
    commits.ok_or_else(|| {
        Failure::condition(format!(
            "the reverse stream has delivered {since}, and what was written on {} since cannot be \
             counted, because its WAL cannot be read; {repair} (migration rollback {} \
             --accept-loss)",
            target.name(),
            migration.name
        ))
    })
}

/// Who would not take a real change in time.
fn vetoed(rehearsal: &Rehearsal, deadline: Duration) -> Option<String> {
    let Rehearsal { canaries, fleet } = rehearsal;
    if let Some(canaries) = canaries.as_ref().filter(|canaries| !canaries.reached) {
        return Some(format!(
            "not every canary took a change that moves nothing within {deadline:?}, and no other \
             sidecar was sent it: {}",
            convergence_message(canaries)
        ));
    }
    let fleet = fleet.as_ref().filter(|fleet| !fleet.reached)?;
    Some(format!(
        "not every registered sidecar took a change that moves nothing within {deadline:?}: {}",
        convergence_message(fleet)
    ))
}

/// What keeps the fleet from being counted on.
fn incomplete(membership: &Membership) -> Option<String> {
    let list = |nodes: &[pointsman_catalog::NodeId]| {
        let names: Vec<_> = nodes.iter().map(ToString::to_string).collect();
        names.join(", ")
    };
    if !membership.absent.is_empty() {
        return Some(format!(
            "registered sidecars are missing: {}; nobody can say whether they still send writes to \
             the old server; restart them or retire them (fleet retire NODE); a member of a sidecar group \
             is awaited until its lease is over (fleet status)",
            list(&membership.absent)
        ));
    }
    if let Some(group) = membership.emptied.first() {
        return Some(format!(
            "sidecar group {group} had members within the last minute and has none now; nobody can say \
             whether they still send writes to the old server"
        ));
    }
    if !membership.unregistered.is_empty() {
        return Some(format!(
            "unregistered sidecars are connected: {}; register them (fleet register NODE --listen \
             IP) or stop them",
            list(&membership.unregistered)
        ));
    }
    let (node, reason) = membership.stale.first()?;
    Some(format!("sidecar {node} is not in step: {reason}"))
}

/// Nobody waits for the set-up: a standby gets this many times what it has in a switch.
const SET_UP_PATIENCE: u32 = 3;
