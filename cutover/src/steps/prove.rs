//! The fence is proved once more, at the last moment before the intent to promote.

use futures_util::future::{join, join3, try_join};
use pointsman_catalog::{ServerName, UnixMillis};
use serde_json::json;

use super::{
    BudgetsOfPair, Failure, Proof, Run, catch_up, fence, others, readiness, sessions::Both,
};
use crate::{
    machine::{Assertion, Direction, FenceProof, PromotionDeadline, Side},
    migration::{FencedTarget, Learned, MissingFact, NotProven},
    ports::{
        Breach, ControlledServer, Exempt, FenceRecord, FenceToken, Finding, Look, Marker,
        ProofMethod, ReverseSlot, Strangers, WriteProof,
    },
};

pub(super) async fn forward(run: &mut Run<'_>) -> Result<Proof, Failure> {
    let promote = run.budgets.target.promote;
    let mut token = run.migration.facts.token()?.clone();
    let record = full_record(run, Side::Source)?;
    let both = run.both().await?;
    let (proved, others) = join(
        unwritten_source(run, &both, &record, &mut token),
        others::none_promoted(run),
    )
    .await;
    others?;
    let proved = proved?;
    let asked = readiness::before_the_request(run, &record, &token).await?;
    let deadline = match asked {
        // An API takes no deadline.
        Some(_) => None,
        None => Some(PromotionDeadline::from_target_clock(proved.clock, promote)),
    };
    let evidence = json!({
        "marker": token.marker.lsn,
        "proof": evidence(&proved.proof),
        "new_markers": proved.new_markers,
        "sessions_ended_on_target": proved.ended_on_target,
        "promote_deadline_ms": deadline,
    });
    let by = proved.proof.method;
    let proof = Proof::new(nobody_wrote(both.source.name(), &proved.proof), evidence);
    let proof = proof.learning(Learned::FenceProved {
        token,
        deadline,
        by,
    });
    Ok(match asked {
        Some(asked) => readiness::followed_by_a_request(proof, asked),
        None => proof,
    })
}

/// What is known once nobody has written on the source since the marker.
#[derive(Debug)]
struct Proved {
    proof: WriteProof,
    new_markers: u32,
    ended_on_target: u64,
    /// The target's.
    clock: UnixMillis,
}

/// Gives `token` the marker that stands at last.
async fn unwritten_source(
    run: &Run<'_>,
    both: &Both,
    record: &FenceRecord,
    token: &mut FenceToken,
) -> Result<Proved, Failure> {
    let BudgetsOfPair { source, target } = run.budgets;
    let (exempt, id) = (
        run.migration.facts.exempt(),
        fence::marker_id(run.migration),
    );
    let replayed = async |marker: &Marker| {
        catch_up::replayed(run.clock(), &both.target, marker.lsn, target.catch_up).await
    };
    let mut new_markers = 0;
    loop {
        let (fence, ended, observed) = join3(
            check(&both.source, record, &[], &token.marker.look, exempt),
            both.target
                .sessions()?
                .end_sessions(&[], target.end_sessions),
            both.target.observe(),
        )
        .await;
        let broken = match fence?.proof() {
            Err(broken) => broken,
            Ok(proof) => {
                if let Some(marker) = marker_of(&proof) {
                    token.marker = marker;
                    replayed(&token.marker).await?;
                }
                return Ok(Proved {
                    proof,
                    new_markers,
                    ended_on_target: ended?,
                    clock: observed?.clock,
                });
            }
        };
        // A writer slipped past the fence before the proof: end it, take a new marker and wait
        // for that one instead.
        new_markers = another(new_markers, &broken)?;
        both.source
            .sessions()?
            .end_sessions(&[], source.end_sessions)
            .await?;
        token.marker = both.source.wal_proof()?.marker(&id, &[]).await?;
        replayed(&token.marker).await?;
    }
}

/// By ids the target goes on with the very next one, so the last look is its marker.
fn marker_of(proof: &WriteProof) -> Option<Marker> {
    match proof.method {
        ProofMethod::TransactionIds => Some(Marker::from(proof.through.clone())),
        ProofMethod::WalRecords => None,
    }
}

/// The number of the marker that is taken next. A writer that comes back a fourth time is not an
/// accident of timing.
fn another(new_markers: u32, broken: &str) -> Result<u32, Failure> {
    if new_markers < MOST_MARKERS {
        Ok(new_markers + 1)
    } else {
        Err(Failure::condition(broken))
    }
}

/// What a writer left on the target comes to the source, or nothing goes on.
fn carried(delivers: bool, broken: &str) -> Result<(), Failure> {
    if delivers {
        Ok(())
    } else {
        Err(Failure::condition(broken))
    }
}

pub(super) async fn reverse(run: &mut Run<'_>) -> Result<Proof, Failure> {
    let end = run.budgets.target.end_sessions;
    let facts = &run.migration.facts;
    let mut marker = facts.marker(Direction::Reverse)?.clone();
    let slots = &facts.stream()?.slots;
    let record = full_record(run, Side::Target)?;
    let target = run.target().await?;
    let mut new_markers = 0;
    let proof = loop {
        let checked = check(&target, &record, slots, &marker.look, facts.exempt()).await?;
        let broken = match checked.proof() {
            Ok(proof) => break proof,
            Err(broken) => broken,
        };
        target.sessions()?.end_sessions(slots, end).await?;
        // What a writer left here is carried like all that came before, or this is undone.
        new_markers = another(new_markers, &broken)?;
        let (id, moving) = (fence::marker_id(run.migration), run.migration.moving());
        marker = target.wal_proof()?.marker(&id, &moving).await?;
        carried(catch_up::delivers(run, &target, marker.lsn).await?, &broken)?;
    };
    let found = json!({
        "marker": marker.lsn,
        "proof": evidence(&proof),
        "new_markers": new_markers,
    });
    let proved = Proof::new(nobody_wrote(target.name(), &proof), found);
    let former = record.former;
    Ok(proved.learning(Learned::TargetClosed(FencedTarget { former, marker })))
}

/// The fence token, for a leader that promotes or opens the target, and what was found out on
/// the way. A leader that has not proved the source's fence itself proves it first: somebody may
/// have opened the source since, and it must not get a second writer beside it.
pub(super) async fn token_of_a_fence_that_holds(
    run: &mut Run<'_>,
) -> Result<(FenceToken, Vec<Learned>), Failure> {
    let token = run.migration.facts.token()?.clone();
    let learned = match run.migration.machine.fence_proof() {
        FenceProof::Given => Vec::new(),
        FenceProof::Owed => source_is_left(run).await?,
    };
    Ok((token, learned))
}

/// The fence of the source and its WAL, as they are now.
async fn source_is_left(run: &mut Run<'_>) -> Result<Vec<Learned>, Failure> {
    let facts = &run.migration.facts;
    let since = facts.token()?.marker.look.clone();
    let record = full_record(run, Side::Source)?;
    let asserted_down = run.migration.machine.holds(Assertion::SourceDown);
    let source = match unless_down(run.source().await, asserted_down)? {
        Ok(source) => source,
        Err(_silent) => return Ok(Vec::new()),
    };
    match check(&source, &record, &[], &since, facts.exempt()).await? {
        FenceCheck::Holds(_) => Ok(Vec::new()),
        // The source stays closed, so there is one writer in any case.
        FenceCheck::Unproven(found) => Ok(vec![Learned::NotProven(found)]),
        FenceCheck::Broken(found) | FenceCheck::Written(found) => Err(Failure::unprovable(found)),
    }
}

/// The same of the target, right before the source is opened. Returns what is given up by that, in
/// words.
///
/// An operator who asserts that the target is down gives up what was written on it; one that
/// answers and is open is no target that is down.
pub(super) async fn target_is_left(run: &mut Run<'_>) -> Result<Option<String>, Failure> {
    let facts = &run.migration.facts;
    let since = facts.marker(Direction::Reverse)?.look.clone();
    let slots = &facts.stream()?.slots;
    let record = full_record(run, Side::Target)?;
    let machine = run.migration.machine;
    let asserted_down = machine.holds(Assertion::TargetDown);
    let target = match unless_down(run.target().await, asserted_down)? {
        Ok(target) => target,
        Err(silent) => return Ok(Some(silent)),
    };
    let found = check(&target, &record, slots, &since, facts.exempt()).await?;
    given_up(found, asserted_down, machine.holds(Assertion::LossAccepted))
}

/// A server that does not answer is not looked at where an operator asserts that it is down: then this
/// says why there was no answer. An error is an answer.
fn unless_down<T>(
    reached: Result<T, Failure>,
    asserted_down: bool,
) -> Result<Result<T, String>, Failure> {
    match reached {
        Ok(server) => Ok(Ok(server)),
        Err(failure) if failure.is_silent() && asserted_down => Ok(Err(failure.message)),
        Err(failure) => Err(failure),
    }
}

/// What is given up by opening the source beside a target of which this was found.
fn given_up(
    found: FenceCheck,
    asserted_down: bool,
    loss_accepted: bool,
) -> Result<Option<String>, Failure> {
    match found {
        FenceCheck::Holds(_) => Ok(None),
        FenceCheck::Unproven(found) if asserted_down || loss_accepted => {
            Ok(Some(found.to_string()))
        }
        FenceCheck::Written(found) if asserted_down => Ok(Some(found)),
        FenceCheck::Unproven(found) => Err(Failure::unprovable(found.to_string())),
        FenceCheck::Broken(found) | FenceCheck::Written(found) => Err(Failure::unprovable(found)),
    }
}

/// Whether a server is closed, empty, and unwritten since a look.
#[derive(Debug)]
pub(super) enum FenceCheck {
    Holds(WriteProof),
    /// It is closed and empty, and somebody took ids that do not say what was written.
    Unproven(NotProven),
    /// It is closed and empty. User commits stand in its WAL, or it was open and somebody took ids.
    Written(String),
    /// It is open.
    Broken(String),
}

impl FenceCheck {
    /// For a step that can still be taken back: the proof, or why there is none.
    fn proof(self) -> Result<WriteProof, String> {
        match self {
            Self::Holds(proof) => Ok(proof),
            Self::Unproven(found) => Err(found.to_string()),
            Self::Written(found) | Self::Broken(found) => Err(found),
        }
    }
}

pub(super) async fn check(
    server: &ControlledServer,
    record: &FenceRecord,
    spare: &[ReverseSlot],
    since: &Look,
    exempt: &Exempt,
) -> Result<FenceCheck, Failure> {
    let (breaches, proof) = try_join(
        server.fence()?.breaches(record, spare),
        server.wal_proof()?.prove_unwritten(since, exempt),
    )
    .await?;
    Ok(judged(server.name(), &breaches, proof))
}

fn judged(name: &ServerName, breaches: &[Breach], proof: WriteProof) -> FenceCheck {
    if let Some(breach) = breaches.first() {
        let breach = format!("the fence of {name} does not hold: {}", breach.message);
        return FenceCheck::Broken(breach);
    }
    match proof.finding {
        Finding::Unwritten | Finding::Accepted(_) => FenceCheck::Holds(proof),
        // Somebody may have been let in and shut out again.
        Finding::Unproven(strangers) if !strangers.changed.is_empty() => {
            FenceCheck::Written(format!(
                "{strangers} behind the fence of {name} changed {}",
                strangers.changed.join(", ")
            ))
        }
        // An id does not say whether whoever was seen there wrote.
        Finding::Unproven(strangers) if !strangers.breaches.is_empty() => {
            FenceCheck::Written(format!(
                "{strangers} behind the fence of {name}, which was seen broken: {}; an id does not \
                 say what was written",
                strangers.breaches.join("; ")
            ))
        }
        Finding::Unproven(strangers) => FenceCheck::Unproven(NotProven {
            server: name.clone(),
            strangers,
        }),
        Finding::Written(count) => FenceCheck::Written(format!(
            "{count} transactions were committed on {name} behind the fence"
        )),
    }
}

/// Says by what the proof stands, and whose ids were accepted.
pub(super) fn nobody_wrote(server: &ServerName, proof: &WriteProof) -> String {
    let accepted = match &proof.finding {
        Finding::Accepted(Strangers {
            count,
            not_closable,
            ..
        }) => format!(
            "; {count} by the owners of {}, which cannot be closed",
            not_closable.join(", ")
        ),
        Finding::Unwritten | Finding::Written(_) | Finding::Unproven(_) => String::new(),
    };
    format!(
        "nobody has written on {server} since the marker, {}{accepted}",
        proof.method
    )
}

/// A proof for the journal.
pub(super) fn evidence(proof: &WriteProof) -> serde_json::Value {
    json!({
        "method": proof.method,
        "through": proof.through.lsn,
        "xid": proof.through.xid,
        "finding": proof.finding,
    })
}

/// The fence record with the settings that it recorded.
pub(super) fn full_record(run: &Run<'_>, side: Side) -> Result<FenceRecord, MissingFact> {
    Ok(FenceRecord {
        former: run.migration.facts.former_settings(side)?.clone(),
        ..fence::record(run, side)?
    })
}

const MOST_MARKERS: u32 = 3;

#[cfg(test)]
mod tests;
