//! The fence is proved once more, at the last moment before the intent to promote.

use futures_util::future::{join3, try_join};
use serde_json::json;

use super::{BudgetsOfPair, Failure, Proof, Run, catch_up, fence, readiness};
use crate::{
    Lsn,
    machine::{Assertion, Direction, FenceProof, PromotionDeadline, Side},
    migration::{Learned, Migration, MissingFact},
    ports::{ControlledServer, Exempt, FenceRecord, FenceToken, Marker, ReverseSlot},
};

pub(super) async fn forward(run: &mut Run<'_>) -> Result<Proof, Failure> {
    let BudgetsOfPair { source, target } = run.budgets;
    let facts = &run.migration.facts;
    let mut token = facts.token()?.clone();
    let id = fence::marker_id(run.migration);
    let record = full_record(run.migration, Side::Source)?;
    let both = run.both().await?;
    let mut tries = 0;
    let (ended, observed, proved_through) = loop {
        let (fence, ended, observed) = join3(
            check(&both.source, &record, &[], token.marker, facts.exempt()),
            both.target
                .sessions()?
                .end_sessions(&[], target.end_sessions),
            both.target.observe(),
        )
        .await;
        match fence? {
            FenceCheck::Holds { through } => break (ended?, observed?, through),
            // A writer slipped past the fence before the proof: end it, take a new marker
            // and wait for that one instead.
            FenceCheck::Broken(breach) if tries >= MAX_TRIES => {
                return Err(Failure::condition(breach));
            }
            FenceCheck::Broken(_) => {
                tries += 1;
                both.source
                    .sessions()?
                    .end_sessions(&[], source.end_sessions)
                    .await?;
                token.marker = both.source.wal_proof()?.marker(&id, &[]).await?;
                catch_up::replayed(run.clock(), &both.target, token.marker.lsn, target.catch_up)
                    .await?;
            }
        }
    };
    let asked = readiness::before_the_request(run, &record, &token).await?;
    let deadline = match asked {
        // An API takes no deadline.
        Some(_) => None,
        None => Some(PromotionDeadline::from_target_clock(
            observed.clock,
            target.promote,
        )),
    };
    let proof = Proof::new(
        format!(
            "nobody has written on {} since the marker",
            both.source.name()
        ),
        json!({
            "marker": token.marker.lsn,
            "proved_through": proved_through,
            "new_markers": tries,
            "sessions_ended_on_target": ended,
            "promote_deadline_ms": deadline,
        }),
    )
    .learning(Learned::FenceProved { token, deadline });
    Ok(match asked {
        Some(asked) => readiness::followed_by_a_request(proof, asked),
        None => proof,
    })
}

pub(super) async fn reverse(run: &mut Run<'_>) -> Result<Proof, Failure> {
    let end = run.budgets.target.end_sessions;
    let facts = &run.migration.facts;
    let marker = facts.marker(Direction::Reverse)?;
    let slots = &facts.stream()?.slots;
    let record = full_record(run.migration, Side::Target)?;
    let target = run.target().await?;
    match check(&target, &record, slots, marker, facts.exempt()).await? {
        FenceCheck::Holds { through } => Ok(Proof::new(
            format!("nobody has written on {} since the marker", target.name()),
            json!({ "marker": marker.lsn, "proved_through": through }),
        )),
        FenceCheck::Broken(breach) => {
            target.sessions()?.end_sessions(slots, end).await?;
            Err(Failure::condition(breach))
        }
    }
}

/// The fence token, for a leader that promotes or opens the target. One that has not proved
/// the source's fence itself proves it first: somebody may have opened the source since, and it
/// must not get a second writer beside it.
pub(super) async fn token_of_a_fence_that_holds(run: &mut Run<'_>) -> Result<FenceToken, Failure> {
    let facts = &run.migration.facts;
    let token = facts.token()?.clone();
    match run.migration.machine.fence_proof() {
        FenceProof::Given => return Ok(token),
        FenceProof::Owed => {}
    }
    let record = full_record(run.migration, Side::Source)?;
    let asserted_down = run.migration.machine.holds(Assertion::SourceDown);
    let source = match run.source().await {
        Err(failure) if failure.is_unanswered() && asserted_down => return Ok(token),
        outcome => outcome?,
    };
    match check(&source, &record, &[], token.marker, facts.exempt()).await? {
        FenceCheck::Holds { .. } => Ok(token),
        FenceCheck::Broken(breach) => Err(Failure::unprovable(breach)),
    }
}

/// Whether a server is closed, empty, and without a user commit after the marker.
#[derive(Debug)]
enum FenceCheck {
    /// Its WAL shows so up to here.
    Holds {
        through: Lsn,
    },
    Broken(String),
}

async fn check(
    server: &ControlledServer,
    record: &FenceRecord,
    spare: &[ReverseSlot],
    marker: Marker,
    exempt: &Exempt,
) -> Result<FenceCheck, Failure> {
    let (breaches, commits) = try_join(
        server.fence()?.breaches(record, spare),
        server.wal_proof()?.user_commits(marker.after, exempt),
    )
    .await?;
    if let Some(breach) = breaches.first() {
        return Ok(FenceCheck::Broken(format!(
            "the fence of {} does not hold: {}",
            server.name(),
            breach.message
        )));
    }
    if commits.count > 0 {
        return Ok(FenceCheck::Broken(format!(
            "{} transactions were committed on {} behind the fence",
            commits.count,
            server.name()
        )));
    }
    Ok(FenceCheck::Holds {
        through: commits.through,
    })
}

/// The fence record with the settings that it recorded.
pub(super) fn full_record(migration: &Migration, side: Side) -> Result<FenceRecord, MissingFact> {
    Ok(FenceRecord {
        former: migration.facts.former_settings(side)?.clone(),
        ..fence::record(migration, side)?
    })
}

/// A writer that comes back a fourth time is not an accident of timing.
const MAX_TRIES: u32 = 3;
