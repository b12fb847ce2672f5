//! Gathers what the checks look at, and runs them.

use std::{collections::BTreeMap, time::Duration};

use pointsman_catalog::{CatalogError, Chain};

use crate::{
    Ports, Settings,
    checks::{CheckContext, Moment, Report},
    machine::Assertion,
    migration::{Migration, PlannedDatabase},
    ports::ProviderError,
};

/// What the checks look at could not be gathered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PreflightError {
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// A server could not be reached or read.
    #[error(transparent)]
    Provider(#[from] ProviderError),
}

/// Runs every check against the servers as they are now; nothing is changed.
pub(crate) async fn run(
    ports: &Ports,
    settings: &Settings,
    migration: &Migration,
    moment: Moment,
) -> Result<Report, PreflightError> {
    let catalog = &ports.catalog;
    let source = catalog.server(&migration.source).await?;
    let target = catalog.server(&migration.target).await?;
    let (on_source, on_target) = futures_util::future::try_join(
        ports.providers.of(&source)?.inspect(&source),
        ports.providers.of(&target)?.inspect(&target),
    )
    .await?;
    let mut catalogued = Vec::new();
    for name in catalog.databases_served_by(&migration.source).await? {
        let datname = catalog.database(&name).await?.datname;
        catalogued.push(PlannedDatabase { name, datname });
    }
    let readers: BTreeMap<_, _> = catalog
        .routes()
        .await?
        .into_iter()
        .filter(|(name, _)| migration.databases.iter().any(|moved| moved.name == *name))
        .map(|(name, routes)| (name, routes.reader.serving().to_vec()))
        .collect();
    let reached = ports
        .evidence
        .reach(&migration.catalogued(), &migration.target, REACH)
        .await;
    let membership = ports.data_plane.membership().await;
    let journal_room = catalog.store().room().await;
    let of_target = ports.providers.of(&target)?;
    let context = CheckContext {
        clock: &*ports.clock,
        source: &source,
        target: &target,
        on_source: &*on_source,
        on_target: &*on_target,
        databases: &migration.databases,
        unlisted: &migration.unlisted,
        waived: &migration.waived,
        catalogued: &catalogued,
        readers: &readers,
        membership: &membership.map_err(|error| error.to_string()),
        journal_room: &journal_room.map_err(|error| Chain(&error).to_string()),
        reached: &reached,
        promotion_by_api: of_target
            .managed_promotion(&target)
            .map(|api| api.outlook()),
        target_budgets: of_target.budgets(&target).or_as_set(settings),
        hold: settings.hold_budget,
        accept_loss: migration.machine.holds(Assertion::LossAccepted),
        durable_way_back: migration.durable_way_back,
        moment,
        bake: settings.bake,
    };
    Ok(ports.checks.run(&context).await)
}

/// A sidecar tries at once, at least every 5 s, and reports twice a second. Nobody waits
/// meanwhile: nothing is held yet.
const REACH: Duration = Duration::from_secs(10);
