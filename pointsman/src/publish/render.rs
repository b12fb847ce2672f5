//! From the catalogue to Envoy's resources; pure.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use pointsman_catalog::{Database, DatabaseName, Route, Routes, ServerName, UnixMillis};
use pointsman_envoy_config::{BuildError, ServedDatabase, resources};
use pointsman_xds::{Resource, ResourceSet, ResourceSetError, ResourceType, SnapshotError};

/// The clusters and load assignments of one database.
#[derive(Debug)]
pub(super) struct RenderedDatabase {
    pub(super) resources: Vec<Resource>,
    /// The first end of a hold among its routes: the resources are to be rendered anew then.
    pub(super) held_until: Option<UnixMillis>,
}

/// Why something cannot be rendered.
#[derive(Debug, thiserror::Error)]
pub(super) enum RenderError {
    #[error("{0} is not in the catalogue")]
    Undeclared(DatabaseName),
    #[error(transparent)]
    Resource(#[from] BuildError),
    #[error(transparent)]
    Set(#[from] ResourceSetError),
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
}

/// Renders the clusters and load assignments of `database` at `now`. `probe_target` is the server
/// that sidecars try; without an address it is left out.
pub(super) fn database(
    database: &Database,
    routes: &Routes,
    probe_target: Option<&ServerName>,
    addresses: &BTreeMap<ServerName, Vec<SocketAddr>>,
    now: UnixMillis,
) -> Result<RenderedDatabase, RenderError> {
    let probe_target = probe_target.filter(|server| addresses.contains_key(*server));
    let served = ServedDatabase {
        database,
        routes,
        probe_targets: probe_target.map_or(&[], std::slice::from_ref),
    };
    let rendered = resources::of_database(&served, addresses, now)?;
    Ok(RenderedDatabase {
        resources: rendered.into_iter().map(Resource::from).collect(),
        held_until: [&routes.writer, &routes.reader]
            .into_iter()
            .filter_map(|route| held_until(route, now))
            .min(),
    })
}

/// Renders the listeners of a sidecar that listens on `listen`.
pub(super) fn listeners<'a>(
    listen: IpAddr,
    databases: impl IntoIterator<Item = &'a Database>,
) -> Result<Arc<ResourceSet>, RenderError> {
    let rendered = resources::listeners(listen, databases)?;
    let listeners = rendered.into_iter().map(Resource::from);
    Ok(Arc::new(ResourceSet::new(
        ResourceType::Listener,
        listeners,
    )?))
}

/// Until when the route is held; `None` for a hold that has ended.
fn held_until(route: &Route, now: UnixMillis) -> Option<UnixMillis> {
    match route {
        Route::Hold { until, .. } if *until > now => Some(*until),
        Route::Hold { .. } | Route::Serve { .. } | Route::Refuse => None,
    }
}
