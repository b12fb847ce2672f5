//! A target that serves nobody in its bake: new connections are held until it is back.

use std::time::Duration;

use pointsman_catalog::UnixMillis;

use super::{Failure, Run, others, routes::HoldWindow};
use crate::{
    migration::Migration,
    ports::{Observation, ProviderError, Reached},
};

/// What a look at the target came to.
#[derive(Debug)]
pub(crate) enum TargetSeen {
    /// The writer that it was.
    Serves,
    /// It answers with an error, which says nothing of what it is.
    Unclear(String),
    /// It is not what the switch made of it, in words.
    Changed(String),
    /// Nothing is heard, or it lets nobody in by its own word.
    Silent(Failure),
}

/// Looks by a session of its own: one that ended says nothing of the server.
pub(crate) async fn look(run: &Run<'_>) -> TargetSeen {
    let clock = run.clock();
    let seen = clock.timeout(LOOK, observe(run)).await;
    let seen = seen.unwrap_or_else(|_elapsed| {
        let server = run.migration.target.clone();
        let reason = format!("no answer within {LOOK:?}");
        Err(ProviderError::Unreachable { server, reason }.into())
    });
    match seen {
        Err(failure) if failure.is_unanswered() => TargetSeen::Silent(failure),
        Err(failure) => TargetSeen::Unclear(failure.message),
        Ok(seen) => match other_than_left(run.migration, &seen) {
            Some(found) => TargetSeen::Changed(found),
            None => TargetSeen::Serves,
        },
    }
}

async fn observe(run: &Run<'_>) -> Result<Observation, Failure> {
    let target = run.ports.catalog.server(&run.migration.target).await?;
    Ok(run.ports.providers.of(&target)?.observe(&target).await?)
}

fn other_than_left(migration: &Migration, seen: &Observation) -> Option<String> {
    let (target, found) = (&migration.target, &seen.system_identifier);
    match migration.facts.lease() {
        Some(known) if known != found => Some(format!(
            "{target} has system identifier {found}, and {known} was switched to"
        )),
        Some(_) | None => others::judge(migration, target, seen),
    }
}

/// Whether clients get no connection to a target that did not answer the engine. Its own word is
/// enough; else sidecars must say so too, because the engine alone may be cut off.
///
/// # Errors
/// Why that is not known, in words.
pub(crate) async fn is_down(run: &Run<'_>, silent: &Failure) -> Result<String, String> {
    if silent.is_starting() {
        return Ok(silent.message.clone());
    }
    let Migration { target, .. } = run.migration;
    let databases = run.migration.catalogued();
    let answers = run.ports.evidence.reach(&databases, target, ANSWERS).await;
    let mut cannot = Vec::new();
    for (node, answer) in &answers {
        match answer {
            Reached::Yes => {
                return Err(format!(
                    "sidecar {node} reaches {target}, the engine does not"
                ));
            }
            Reached::No(_) => cannot.push(node.as_str()),
            Reached::Unknown(_) => {}
        }
    }
    if cannot.is_empty() {
        return Err(format!(
            "no sidecar has said that it does not reach {target} either"
        ));
    }
    let named = cannot.iter().take(NAMED).copied().collect::<Vec<_>>();
    Ok(format!(
        "{}; {} of {} sidecars do not reach it either ({})",
        silent.message,
        cannot.len(),
        answers.len(),
        named.join(", ")
    ))
}

/// Parks new connections, as far as they are not. Returns whether something was published.
pub(crate) async fn hold(run: &Run<'_>, since: UnixMillis) -> Result<bool, Failure> {
    let until = run.migration.facts.hold_until();
    let until = until.unwrap_or_else(|| since.plus(run.settings.hold_budget));
    let window = HoldWindow { since, until };
    let published = run.routes().hold_for_target(window).await?;
    Ok(published.is_some())
}

/// Sends those that were parked to the target.
pub(crate) async fn release(run: &Run<'_>, since: UnixMillis) -> Result<(), Failure> {
    run.routes().release_to_target(since).await?;
    Ok(())
}

/// A server that answers does so within milliseconds.
const LOOK: Duration = Duration::from_secs(1);
/// Sidecars say twice a second what came of their tries, and two must have failed.
const ANSWERS: Duration = Duration::from_secs(3);
const NAMED: usize = 8;
