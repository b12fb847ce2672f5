//! From databases, their routes and their servers' addresses to Envoy resources.
//!
//! Clusters, load assignments and the runtime layer are the same for all sidecars
//! ([`shared`]); listeners depend on the address on which a sidecar listens
//! ([`listeners`]). Nothing of a route is in a listener or a cluster: what a flip changes
//! is load assignments alone, because a sidecar without drain time closes every
//! connection of a listener that changes.

mod build_error;
mod cluster;
mod endpoints;
mod listener;
mod message;
mod rendered;
mod runtime;
#[cfg(test)]
mod tests;

pub use listener::ACCESS_LOG_DELAY;

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use pointsman_catalog::{Database, Role, Routes, ServerName, UnixMillis};

pub use build_error::BuildError;
pub use endpoints::Addresses;
pub use rendered::Rendered;

use crate::names::{probe_name, route_name};

/// A database and what its routes are now.
#[derive(Clone, Copy, Debug)]
pub struct ServedDatabase<'a> {
    pub database: &'a Database,
    pub routes: &'a Routes,
    /// Servers that sidecars shall try through `probe.<database>`; may be none.
    pub probe_targets: &'a [ServerName],
}

/// The clusters and load assignments of `databases`, and the runtime layer.
pub fn shared(
    databases: &[ServedDatabase<'_>],
    addresses: &Addresses,
    now: UnixMillis,
) -> Result<Vec<Rendered>, BuildError> {
    let mut resources = vec![runtime::layer(None)];
    for database in databases {
        resources.extend(of_database(database, addresses, now)?);
    }
    Ok(resources)
}

/// The clusters and load assignments of one database, for a caller that keeps those of
/// the others.
pub fn of_database(
    served: &ServedDatabase<'_>,
    addresses: &Addresses,
    now: UnixMillis,
) -> Result<Vec<Rendered>, BuildError> {
    let ServedDatabase {
        database,
        routes,
        probe_targets,
    } = served;
    let writer = route_name(Role::Writer, &database.name);
    let reader = route_name(Role::Reader, &database.name);
    let probe = probe_name(&database.name);
    Ok(vec![
        cluster::eds(&writer),
        cluster::eds(&reader),
        cluster::probe(&probe),
        endpoints::of_route(&writer, &routes.writer, addresses, now)?,
        endpoints::of_route(&reader, &routes.reader, addresses, now)?,
        endpoints::of_probe(&probe, probe_targets, addresses)?,
    ])
}

/// The runtime layer that every sidecar asks for. A sidecar acts on nothing in it: with another
/// `rehearsal` it is a change that moves nothing and shows how the fleet takes changes.
pub fn runtime_layer(rehearsal: Option<UnixMillis>) -> Rendered {
    runtime::layer(rehearsal)
}

/// The listeners of sidecars that listen on `listen`.
pub fn listeners<'a>(
    listen: IpAddr,
    databases: impl IntoIterator<Item = &'a Database>,
) -> Result<Vec<Rendered>, BuildError> {
    let mut resources = Vec::new();
    let mut taken = BTreeMap::new();
    for database in databases {
        let ports = [
            (Role::Writer, database.listen.writer),
            (Role::Reader, database.listen.reader),
        ];
        for (role, port) in ports {
            let name = route_name(role, &database.name);
            if let Some(first) = taken.insert(port, name.clone()) {
                return Err(BuildError::SharedPort {
                    port,
                    first,
                    second: name,
                });
            }
            resources.push(listener::tcp(&name, SocketAddr::new(listen, port)));
        }
    }
    Ok(resources)
}
