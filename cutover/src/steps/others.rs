//! The other servers of the same system: whether somebody promoted one of them, or made one of the
//! migration's own something else.

use std::{collections::BTreeSet, time::Duration};

use futures_util::future::{join, join_all};
use pointsman_catalog::ServerName;

use super::{Failure, Problem, Run};
use crate::{
    machine::Side,
    migration::Migration,
    ports::{Observation, ProviderError},
};

/// What a look at them found.
#[derive(Debug, Default)]
pub(crate) struct Others {
    /// Primaries, and standbys on a timeline, that no switch of this migration made, in words.
    pub(crate) not_ours: Vec<String>,
    /// Whose role is not known, and why.
    pub(crate) unknown: Vec<String>,
}

/// Looks at all of them in a bake, source and target included. Whether these two answer is for others
/// to say.
pub(crate) async fn look_in_bake(run: &mut Run<'_>) -> Others {
    let mut found = look(run, run.migration.facts.standbys(), UNHURRIED).await;
    let clock = run.clock();
    let looking = pair(run);
    if let Ok(Ok(pair)) = clock.timeout(UNHURRIED, looking).await {
        found.not_ours.extend(pair);
    }
    found
}

/// Looks at those that are neither source nor target.
pub(crate) async fn look_beside(run: &Run<'_>) -> Others {
    look(run, run.migration.facts.standbys(), UNHURRIED).await
}

async fn pair(run: &mut Run<'_>) -> Result<Vec<String>, Failure> {
    let both = run.both().await?;
    let (source, target) = join(both.source.observe(), both.target.observe()).await;
    let sides = [(Side::Source, source?), (Side::Target, target?)];
    let judged = sides.map(|(side, seen)| judge(run.migration, run.migration.server(side), &seen));
    Ok(judged.into_iter().flatten().collect())
}

/// Inside of a switch. A server that does not answer is no reason to stop, and costs the clients that
/// are parked no more than this.
///
/// # Errors
/// One of them is a primary: the server that is left is not the only writer of its system.
pub(super) async fn none_promoted(run: &Run<'_>) -> Result<(), Failure> {
    let found = look(run, run.migration.facts.standbys(), IN_A_SWITCH).await;
    refused(run, &found, Problem::Unprovable)
}

/// The same before anybody is held; `standbys` are those of the source now.
pub(super) async fn none_promoted_before(
    run: &Run<'_>,
    standbys: &[String],
) -> Result<(), Failure> {
    let found = look(run, standbys, UNHURRIED).await;
    refused(run, &found, Problem::ConditionNotMet)
}

fn refused(run: &Run<'_>, found: &Others, problem: Problem) -> Result<(), Failure> {
    let Some(found) = found.not_ours.first() else {
        return Ok(());
    };
    let message = format!("{found}; {}", what_to_do(run.migration));
    Err(Failure::new(problem, message))
}

/// What an operator does about it.
pub(crate) fn what_to_do(migration: &Migration) -> String {
    format!(
        "somebody else promotes servers of the system of {} and {}: stop that, and stop or rebuild that \
         server, before this migration goes on",
        migration.source, migration.target
    )
}

async fn look(run: &Run<'_>, standbys: &[String], within: Duration) -> Others {
    let mut found = Others::default();
    let watched = match watched(run, standbys).await {
        Ok(watched) => watched,
        Err(failure) => {
            found.unknown.push(failure.message);
            return found;
        }
    };
    let looks = watched.iter().map(|server| observed(run, server, within));
    for (server, seen) in watched.iter().zip(join_all(looks).await) {
        match seen {
            Ok(seen) => found.not_ours.extend(judge(run.migration, server, &seen)),
            Err(error) => found.unknown.push(format!(
                "whether {server} was promoted is not known: {error}"
            )),
        }
    }
    found
}

/// The servers that the reader routes name or named, and those of the catalogue that stream from the
/// source, or did.
async fn watched(run: &Run<'_>, standbys: &[String]) -> Result<BTreeSet<ServerName>, Failure> {
    let migration = run.migration;
    let moved = migration.catalogued();
    let routes = run.ports.catalog.routes().await?;
    let now = routes.iter().filter(|(name, _)| moved.contains(name));
    let now = now.flat_map(|(_, routes)| routes.reader.serving().to_vec());
    let former = migration.facts.former_readers().values().flatten().cloned();
    let known = standbys.iter().chain(migration.facts.standbys());
    let known: BTreeSet<&str> = known.map(String::as_str).collect();
    let servers = run.ports.catalog.servers().await?;
    let streaming = servers.into_iter().map(|server| server.name);
    let streaming = streaming.filter(|name| known.contains(name.as_str()));
    let (source, target) = (&migration.source, &migration.target);
    let others = now.chain(former).chain(streaming);
    Ok(others
        .filter(|name| name != source && name != target)
        .collect())
}

async fn observed(
    run: &Run<'_>,
    name: &ServerName,
    within: Duration,
) -> Result<Observation, ProviderError> {
    let unreachable = |reason: String| ProviderError::Unreachable {
        server: name.clone(),
        reason,
    };
    let looking = async {
        let server = run.ports.catalog.server(name).await;
        let server = server.map_err(|error| unreachable(error.to_string()))?;
        run.ports.providers.of(&server)?.observe(&server).await
    };
    let looked = run.clock().timeout(within, looking).await;
    looked.unwrap_or_else(|_elapsed| Err(unreachable(format!("no answer within {within:?}"))))
}

/// What is not as a switch of this migration left it, if anything is.
pub(super) fn judge(
    migration: &Migration,
    server: &ServerName,
    seen: &Observation,
) -> Option<String> {
    let facts = &migration.facts;
    if facts.lease() != Some(seen.system_identifier.as_str()) {
        return None;
    }
    let of_source = facts.source_timeline().ok()?;
    let of_target = facts.promotion().ok().map(|promotion| promotion.timeline);
    let (timeline, in_recovery) = (seen.timeline, seen.in_recovery);
    let as_left = if *server == migration.source {
        !in_recovery && timeline == of_source
    } else if *server == migration.target {
        !in_recovery && Some(timeline) == of_target
    } else {
        in_recovery && (timeline <= of_source || Some(timeline) == of_target)
    };
    let role = match in_recovery {
        true => "a standby",
        false => "a primary",
    };
    (!as_left).then(|| {
        format!(
            "{server} is {role} on timeline {timeline}, and no switch of this migration made it that"
        )
    })
}

/// Within a switch clients are parked.
const IN_A_SWITCH: Duration = Duration::from_millis(250);
/// Outside of one nobody is.
const UNHURRIED: Duration = Duration::from_secs(1);
