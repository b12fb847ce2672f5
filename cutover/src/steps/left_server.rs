//! The server that a migration has left, once the migration has ended: it is looked at until it is
//! rebuilt, or somebody takes its fence away.

use std::time::Duration;

use pointsman_catalog::{CatalogError, Server};

use super::{Failure, Run, fence, prove};
use crate::{
    lease,
    machine::{Assertion, Direction, Side},
    migration::{Migration, ServerSeen},
    ports::{
        Breach, BreachKind, ControlledServer, DatabaseProvider, FenceRecord, Observation,
        ProofMethod, ProviderError, WalReach,
    },
};

/// What a look came to, also one that was not ended.
#[derive(Debug, Default)]
pub(crate) struct LeftServerLook {
    pub(crate) answers: bool,
    pub(crate) seen: ServerSeen,
    /// It was opened, and could not be closed again.
    pub(crate) stays_open: bool,
    /// Why it is this migration's no more, in words.
    pub(crate) released: Option<String>,
    /// Why not everything is known.
    pub(crate) not_known: Option<String>,
}

/// Looks at the server on `side`. What opened it is shut again at once. No session stays there: the
/// fence of another migration would take it for a stranger's.
pub(crate) async fn look(run: &mut Run<'_>, side: Side) -> LeftServerLook {
    let mut found = LeftServerLook::default();
    let clock = run.clock();
    let looked = clock.timeout(WITHIN, look_at(run, side, &mut found)).await;
    run.sessions.clear();
    let failed = match looked {
        Ok(Ok(())) => return found,
        Ok(Err(failure)) => failure.message,
        Err(_elapsed) => format!("no answer within {WITHIN:?}"),
    };
    LeftServerLook {
        not_known: Some(failed),
        ..found
    }
}

async fn look_at(run: &mut Run<'_>, side: Side, found: &mut LeftServerLook) -> Result<(), Failure> {
    let migration = run.migration;
    let name = migration.server(side);
    let other = lease::held_by_another(&run.ports.catalog, migration).await;
    if let Some(other) = other.map_err(CatalogError::from)? {
        found.not_known = Some(format!("migration {other:?} has these servers now"));
        return Ok(());
    }
    let server = match run.ports.catalog.server(name).await {
        Err(CatalogError::UnknownServer { .. }) => {
            found.released = Some(format!("{name} is not in the catalogue any more"));
            return Ok(());
        }
        server => server?,
    };
    let provider = run.ports.providers.of(&server)?;
    let record = prove::full_record(run, side)?;
    let observed = provider.observe(&server).await?;
    found.answers = true;
    if is_unread(migration, side) {
        found.not_known = Some(UNREAD.to_owned());
    }
    found.released = another(migration, &record, &observed);
    // Whoever opens it or writes there moves its WAL.
    if found.released.is_some() || !has_moved(migration, side, &observed) {
        return Ok(());
    }
    found.released = taken_over(run, &server, provider).await?;
    if found.released.is_some() {
        return Ok(());
    }
    let controlled = run.leaving(direction_from(side)).await?;
    let breaches = controlled.fence()?.breaches(&record, &[]).await?;
    if note(migration, side, breaches, &mut found.seen) {
        // Whoever takes it over takes the fence away before.
        found.released = taken_over(run, &server, provider).await?;
        if found.released.is_some() {
            found.seen = ServerSeen::default();
            return Ok(());
        }
        if let Err(failure) = shut(run, side, &controlled).await {
            found.stays_open = true;
            let again = format!("it could not be closed again: {}", failure.message);
            found.seen.breaches.push(again);
        }
    }
    Ok(who_wrote(run, side, (&controlled, &observed), found).await?)
}

/// Which way writers went when they left the server on `side`.
fn direction_from(side: Side) -> Direction {
    match side {
        Side::Source => Direction::Forward,
        Side::Target => Direction::Reverse,
    }
}

/// Why it is not the server that was left, in words.
fn another(migration: &Migration, record: &FenceRecord, seen: &Observation) -> Option<String> {
    let name = &record.server;
    if seen.in_recovery {
        return Some(format!("{name} is a standby again"));
    }
    let identifier = &seen.system_identifier;
    if migration
        .facts
        .lease()
        .is_some_and(|known| known != identifier)
    {
        return Some(format!("{name} has system identifier {identifier}"));
    }
    let (timeline, left) = (seen.timeline, record.timeline);
    (timeline != left).then(|| format!("{name} is on timeline {timeline}, and was left on {left}"))
}

/// An id is told from a stranger's by what stands in databases that are closed.
fn is_unread(migration: &Migration, side: Side) -> bool {
    migration.facts.proved_by(side) == Some(ProofMethod::TransactionIds)
}

fn has_moved(migration: &Migration, side: Side, seen: &Observation) -> bool {
    let reach = migration.facts.watch(side).and_then(|watch| watch.reach());
    // A crash takes the end of WAL away that was in memory.
    reach.is_none_or(|reach| seen.position != reach.lsn)
}

/// Why it is this migration's no more, in words.
async fn taken_over(
    run: &Run<'_>,
    server: &Server,
    provider: &dyn DatabaseProvider,
) -> Result<Option<String>, Failure> {
    let migration = run.migration;
    let name = &server.name;
    if let Some(database) = run.routes().served_by(name).await? {
        return Ok(Some(format!("writers of {database} are sent to {name}")));
    }
    Ok(match provider.fence_record(server).await? {
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
fn note(migration: &Migration, side: Side, breaches: Vec<Breach>, seen: &mut ServerSeen) -> bool {
    let watch = migration.facts.watch(side);
    let knows = |message: &str| watch.is_some_and(|watch| watch.knows(message));
    let was_gone = side == Side::Source && migration.machine.holds(Assertion::SourceDown);
    let comes_back = was_gone && !knows(CAME_BACK);
    let mut opened = false;
    for Breach { kind, message } in breaches {
        match kind {
            BreachKind::Opened => {
                opened = true;
                if !comes_back {
                    seen.breaches.push(message);
                }
            }
            BreachKind::Lasting if knows(&message) => {}
            BreachKind::Lasting => seen.breaches.push(message),
            BreachKind::Session | BreachKind::Prepared | BreachKind::Walsender => {
                seen.sessions.push(message);
            }
        }
    }
    if opened && comes_back {
        seen.breaches.push(CAME_BACK.to_owned());
    }
    opened
}

/// Closes it again and ends who came in.
///
/// # Errors
/// It stays open: then nobody is ended, since the next one would come in at once.
async fn shut(run: &Run<'_>, side: Side, server: &ControlledServer) -> Result<(), Failure> {
    let record = fence::close_again(run, side, server).await?;
    let breaches = server.fence()?.breaches(&record, &[]).await?;
    if let Some(open) = breaches.iter().find(|it| it.kind == BreachKind::Opened) {
        return Err(Failure::condition(open.message.clone()));
    }
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
    (server, observed): (&ControlledServer, &Observation),
    found: &mut LeftServerLook,
) -> Result<(), ProviderError> {
    let facts = &run.migration.facts;
    let known = facts.watch(side).and_then(|watch| watch.reach()).cloned();
    let marker = facts.marker(direction_from(side)).ok();
    let Some(since) = known.or_else(|| marker.map(|marker| WalReach::from(&marker.look))) else {
        return Ok(());
    };
    let writes = match is_unread(run.migration, side) {
        true => None,
        false => {
            let (moving, proof) = (run.migration.moving(), server.wal_proof()?);
            proof
                .user_writes(&since, facts.exempt(), &moving, READ)
                .await?
        }
    };
    let seen = &mut found.seen;
    let Some(writes) = writes else {
        if !seen.breaches.is_empty() {
            seen.breaches.push(UNREAD.to_owned());
        }
        found.not_known = Some(UNREAD.to_owned());
        seen.reach = Some(WalReach {
            lsn: observed.position,
            ..since
        });
        return Ok(());
    };
    seen.commits = writes.commits;
    seen.untold = writes.untold;
    seen.reach = Some(writes.through);
    seen.by = Some(writes.by);
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
/// A source that an operator took for gone was left as it was in the bake.
pub(crate) const CAME_BACK: &str =
    "it came back as it was in the bake, after an operator had said that it is gone";
const UNREAD: &str = "whether somebody wrote there cannot be read";
