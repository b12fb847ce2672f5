//! The server that a migration has left, once the migration has ended: it is looked at until it is
//! rebuilt, or somebody takes its fence away.

use std::time::Duration;

use super::{Failure, Problem, Run, fence, prove};
use crate::{
    machine::{Direction, Side},
    migration::{Migration, ServerSeen},
    ports::{Breach, BreachKind, ControlledServer, ProviderError, WalReach},
};

/// What a look came to.
#[derive(Debug)]
pub(crate) enum LeftServerLook {
    /// It is this migration's no more: why, in words.
    Released(String),
    Watched(ServerSeen),
}

/// Looks at the server on `side`. What opened it is shut again at once. No session stays there: the
/// fence of another migration would take it for a stranger's.
///
/// # Errors
/// It could not be looked at.
pub(crate) async fn look(run: &mut Run<'_>, side: Side) -> Result<LeftServerLook, Failure> {
    let name = run.migration.server(side).clone();
    let clock = run.clock();
    let looked = clock.timeout(WITHIN, look_at(run, side)).await;
    run.sessions.clear();
    looked.unwrap_or_else(|_elapsed| {
        Err(Failure::new(
            Problem::Unanswered,
            format!("{name} gave no answer within {WITHIN:?}"),
        ))
    })
}

async fn look_at(run: &mut Run<'_>, side: Side) -> Result<LeftServerLook, Failure> {
    if let Some(why) = taken_over(run, side).await? {
        return Ok(LeftServerLook::Released(why));
    }
    let record = prove::full_record(run, side)?;
    let server = match side {
        Side::Source => run.source().await?,
        Side::Target => run.target().await?,
    };
    if server.observe().await?.in_recovery {
        let why = format!("{} is a standby again", server.name());
        return Ok(LeftServerLook::Released(why));
    }
    let mut found = ServerSeen::default();
    let breaches = server.fence()?.breaches(&record, &[]).await?;
    let opened = note(run.migration, side, breaches, &mut found);
    // Whoever takes it over takes the fence away before.
    if opened && let Some(why) = taken_over(run, side).await? {
        return Ok(LeftServerLook::Released(why));
    }
    if opened && let Err(failure) = shut(run, side, &server).await {
        let again = format!("it could not be closed again: {}", failure.message);
        found.breaches.push(again);
    }
    who_wrote(run, side, &server, &mut found).await?;
    Ok(LeftServerLook::Watched(found))
}

/// Why it is this migration's no more, in words.
async fn taken_over(run: &Run<'_>, side: Side) -> Result<Option<String>, Failure> {
    let migration = run.migration;
    let name = migration.server(side);
    if let Some(database) = run.routes().served_by(name).await? {
        return Ok(Some(format!("writers of {database} are sent to {name}")));
    }
    let server = run.ports.catalog.server(name).await?;
    let provider = run.ports.providers.of(&server)?;
    Ok(match provider.fence_record(&server).await? {
        Some(record) if record.migration == migration.name && record.server == *name => None,
        Some(other) => Some(format!(
            "{name} carries the fence of migration {:?}",
            other.migration
        )),
        None => Some(format!("{name} carries no fence any more")),
    })
}

/// Returns whether it was opened. Who is there besides is named with what else was seen, and alone is no
/// news: a person may look at the server.
fn note(migration: &Migration, side: Side, breaches: Vec<Breach>, found: &mut ServerSeen) -> bool {
    let watch = migration.facts.watch(side);
    let mut opened = false;
    for Breach { kind, message } in breaches {
        match kind {
            BreachKind::Opened => {
                opened = true;
                found.breaches.push(message);
            }
            BreachKind::Lasting if watch.is_some_and(|watch| watch.knows(&message)) => {}
            BreachKind::Lasting => found.breaches.push(message),
            BreachKind::Session | BreachKind::Prepared | BreachKind::Walsender => {
                found.sessions.push(message);
            }
        }
    }
    opened
}

/// Closes it again and ends who came in.
async fn shut(run: &Run<'_>, side: Side, server: &ControlledServer) -> Result<(), Failure> {
    fence::close_again(run, side, server).await?;
    let limit = match side {
        Side::Source => run.budgets.source.end_sessions,
        Side::Target => run.budgets.target.end_sessions,
    };
    server.sessions()?.end_sessions(&[], limit).await?;
    Ok(())
}

async fn who_wrote(
    run: &Run<'_>,
    side: Side,
    server: &ControlledServer,
    found: &mut ServerSeen,
) -> Result<(), ProviderError> {
    let facts = &run.migration.facts;
    let known = facts.watch(side).and_then(|watch| watch.reach()).cloned();
    let marker = match side {
        Side::Source => facts.token().map(|token| &token.marker),
        Side::Target => facts.marker(Direction::Reverse),
    };
    let Some(since) = known.or_else(|| marker.ok().map(|marker| WalReach::from(&marker.look)))
    else {
        return Ok(());
    };
    let moving = run.migration.moving();
    let proof = server.wal_proof()?;
    let writes = proof
        .user_writes(&since, facts.exempt(), &moving, READ)
        .await?;
    let Some(writes) = writes else {
        if !found.breaches.is_empty() {
            let unread = "whether somebody wrote there cannot be read";
            found.breaches.push(unread.to_owned());
        }
        return Ok(());
    };
    found.commits = writes.commits;
    found.untold = writes.untold;
    found.reach = Some(writes.through);
    found.by = Some(writes.by);
    Ok(())
}

/// What was seen, and how it is let go.
pub(crate) fn not_left_alone(migration: &Migration, side: Side, seen: &ServerSeen) -> String {
    format!(
        "{0} was not left alone: {seen}; it is closed again as long as it carries the fence of this \
         migration (pointsman recover lifts it)",
        migration.server(side)
    )
}

/// How long a look may take.
const WITHIN: Duration = Duration::from_secs(4);
/// What a look leaves of the WAL, the next one reads.
const READ: Duration = Duration::from_millis(500);
