//! From databases, their routes and their servers' addresses to Envoy resources.
//!
//! Clusters, load assignments and the runtime layer are the same for all sidecars
//! ([`shared`]); listeners depend on the address on which a sidecar listens
//! ([`listeners`]). Nothing of a route is in a listener or a cluster: what a flip changes
//! is load assignments alone, because a sidecar without drain time closes every
//! connection of a listener that changes.

mod cluster;
mod endpoints;
mod listener;
mod message;
mod runtime;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use bytes::Bytes;
use pointsman_catalog::{Database, Role, Routes, ServerName, UnixMillis};
use pointsman_xds::{Resource, ResourceType};

use crate::names::{probe_name, route_name};

/// What each server's endpoint resolves to now; EDS takes IP addresses only.
pub type Addresses = BTreeMap<ServerName, Vec<SocketAddr>>;

/// One Envoy resource, ready to be sent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rendered {
    pub kind: ResourceType,
    pub name: String,
    /// The encoded message.
    pub body: Bytes,
    /// What the resource's version is the hash of: the body, except for a held route. Its
    /// body tells how much of the hold is left and so differs from one rendering to the
    /// next; its version must not, because Envoy restarts the time at each resend.
    pub version_seed: Bytes,
}

/// A database and what its routes are now.
#[derive(Clone, Copy, Debug)]
pub struct ServedDatabase<'a> {
    pub database: &'a Database,
    pub routes: &'a Routes,
    /// Servers that sidecars shall try through `probe.<database>`; may be none.
    pub probe_targets: &'a [ServerName],
}

/// Why nothing was built: a snapshot is whole, or it is not.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BuildError {
    #[error(
        "{cluster} needs server {server}, whose endpoint has no resolved address: sidecars take \
         IP addresses only; check that the endpoint's name resolves here"
    )]
    Unresolved { cluster: String, server: ServerName },
    #[error(
        "{first} and {second} both listen on port {port}: give one of the databases another \
         listen port"
    )]
    SharedPort {
        port: u16,
        first: String,
        second: String,
    },
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

impl Rendered {
    fn new(kind: ResourceType, name: &str, body: Vec<u8>) -> Self {
        let body = Bytes::from(body);
        Self {
            kind,
            name: name.to_owned(),
            version_seed: body.clone(),
            body,
        }
    }
}

impl From<Rendered> for Resource {
    fn from(rendered: Rendered) -> Self {
        let Rendered {
            kind,
            name,
            body,
            version_seed,
        } = rendered;
        Self::with_version_of(kind, name, body, &version_seed)
    }
}
