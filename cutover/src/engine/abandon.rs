//! Whether a migration may be abandoned: nothing else can end it.

use std::time::Duration;

use futures_util::future::join;
use pointsman_catalog::{Route, ServerName};

use super::{EngineError, Ports};
use crate::{migration::Migration, ports::ProviderError};

/// Refuses it while another end is possible: one of the servers answers, and writers are not sent to
/// others alone. `leave` is what the operator gives up, by name.
pub(super) async fn permit(
    ports: &Ports,
    migration: &Migration,
    leave: &[ServerName],
) -> Result<(), EngineError> {
    let Migration { source, target, .. } = migration;
    let names_both = leave.len() == 2 && leave.contains(source) && leave.contains(target);
    if !names_both {
        return Err(EngineError::Invalid(format!(
            "abandoning a migration gives up what stands on {source} and {target}: name both \
             (--leave {source} --leave {target})"
        )));
    }
    if served_elsewhere(ports, migration).await? {
        return Ok(());
    }
    let looks = join(seen(ports, source), seen(ports, target)).await;
    match (looks.0.or(looks.1), &migration.name) {
        (Some(seen), name) => Err(EngineError::Refused(format!(
            "{seen}, so the migration can be ended otherwise: see migration status {name}. It is abandoned only \
             when neither {source} nor {target} answers, or when the writers of every database are sent to neither"
        ))),
        (None, _) => Ok(()),
    }
}

/// What shows that a server is there: an error is an answer, and so is that it starts.
async fn seen(ports: &Ports, name: &ServerName) -> Option<String> {
    let looking = async {
        let server = ports.catalog.server(name).await.ok()?;
        let observed = match ports.providers.of(&server) {
            Ok(provider) => provider.observe(&server).await,
            Err(error) => Err(error),
        };
        match observed {
            Ok(_seen) => Some(format!("{name} answers")),
            Err(ProviderError::Unreachable { .. }) => None,
            Err(error) => Some(format!("{name} answers ({error})")),
        }
    };
    ports.clock.timeout(LOOK, looking).await.ok().flatten()
}

/// Whether the writers of every database are served by servers that are no part of the migration.
async fn served_elsewhere(ports: &Ports, migration: &Migration) -> Result<bool, EngineError> {
    let routes = ports.catalog.routes().await?;
    let ours = [&migration.source, &migration.target];
    let elsewhere = |route: &Route| {
        let serving = route.serving();
        !serving.is_empty() && serving.iter().all(|server| !ours.contains(&server))
    };
    let mut databases = migration.databases.iter();
    Ok(databases.all(|database| {
        routes
            .get(&database.name)
            .is_some_and(|routes| elsewhere(&routes.writer))
    }))
}

/// A server that answers does so within milliseconds.
const LOOK: Duration = Duration::from_secs(3);
