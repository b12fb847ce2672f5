use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};

use bytes::Bytes;
use envoy_types::pb::envoy::config::{
    core::v3::{Address, HealthStatus, Pipe, address},
    endpoint::v3::{
        ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints,
        cluster_load_assignment::Policy, lb_endpoint::HostIdentifier,
    },
};
use pointsman_catalog::{Route, ServerName, UnixMillis};
use pointsman_xds::ResourceType;
use prost::Message as _;

use super::{
    BuildError, Rendered,
    message::{duration, socket_address},
};
use crate::hold::UNREACHABLE_PIPE;

/// What each server's endpoint resolves to now; EDS takes IP addresses only.
pub type Addresses = BTreeMap<ServerName, Vec<SocketAddr>>;

/// The load assignment of `cluster` while its route is `route`.
pub(super) fn of_route(
    cluster: &str,
    route: &Route,
    addresses: &Addresses,
    now: UnixMillis,
) -> Result<Rendered, BuildError> {
    match route {
        Route::Serve { servers, draining } => {
            let mut endpoints = serving(cluster, servers, addresses)?;
            endpoints.drain(draining, addresses);
            Ok(rendered(cluster, endpoints.into_messages()))
        }
        Route::Hold { until, .. } if *until <= now => Ok(rendered(cluster, Vec::new())),
        Route::Hold { from, since, until } => {
            let mut draining = Endpoints::default();
            draining.drain(from, addresses);
            let mut endpoints = draining.into_messages();
            endpoints.push(lb_endpoint(unreachable_pipe(), HealthStatus::Healthy));
            let left = until.since(now);
            Ok(held(cluster, endpoints, *since, *until, left))
        }
        Route::Refuse => Ok(rendered(cluster, Vec::new())),
    }
}

/// The load assignment of a probe cluster. Without targets it is empty: a sidecar waits 15 s
/// for an assignment that is not sent at all.
pub(super) fn of_probe(
    cluster: &str,
    targets: &[ServerName],
    addresses: &Addresses,
) -> Result<Rendered, BuildError> {
    let endpoints = serving(cluster, targets, addresses)?;
    Ok(rendered(cluster, endpoints.into_messages()))
}

fn serving(
    cluster: &str,
    servers: &[ServerName],
    addresses: &Addresses,
) -> Result<Endpoints, BuildError> {
    let mut endpoints = Endpoints::default();
    for server in servers {
        let resolved = addresses.get(server).filter(|known| !known.is_empty());
        let resolved = resolved.ok_or_else(|| BuildError::Unresolved {
            cluster: cluster.to_owned(),
            server: server.clone(),
        })?;
        endpoints.healthy.extend(resolved);
    }
    Ok(endpoints)
}

/// Sets, so that the content depends neither on the order of a resolver's answers nor on an
/// address that two servers share.
#[derive(Default)]
struct Endpoints {
    healthy: BTreeSet<SocketAddr>,
    draining: BTreeSet<SocketAddr>,
}

impl Endpoints {
    /// Adds servers that take no new connection. They stay listed only for the sidecars'
    /// statistics, so one without a known address is left out.
    fn drain(&mut self, servers: &[ServerName], addresses: &Addresses) {
        let known = servers.iter().filter_map(|server| addresses.get(server));
        self.draining.extend(known.flatten());
    }

    /// Draining addresses first. An address that also serves is not draining.
    fn into_messages(self) -> Vec<LbEndpoint> {
        let Self { healthy, draining } = self;
        let draining = draining
            .difference(&healthy)
            .map(|&at| lb_endpoint(socket_address(at), HealthStatus::Draining));
        let healthy = healthy
            .iter()
            .map(|&at| lb_endpoint(socket_address(at), HealthStatus::Healthy));
        draining.chain(healthy).collect()
    }
}

fn rendered(cluster: &str, endpoints: Vec<LbEndpoint>) -> Rendered {
    let body = assignment(cluster, endpoints).encode_to_vec();
    Rendered::new(ResourceType::Endpoints, cluster, body)
}

/// An assignment that expires after `left`: a sidecar without a control plane then refuses
/// instead of connecting to the source. `left` shrinks with each publish and is not part of the
/// version, so a publish during the hold resends nothing that is otherwise the same.
fn held(
    cluster: &str,
    endpoints: Vec<LbEndpoint>,
    since: UnixMillis,
    until: UnixMillis,
    left: Duration,
) -> Rendered {
    let mut message = assignment(cluster, endpoints);
    let mut seed = format!("hold since {since} until {until} ").into_bytes();
    seed.extend(message.encode_to_vec());
    message.policy = Some(Policy {
        endpoint_stale_after: duration(left),
        ..Policy::default()
    });
    Rendered {
        version_seed: Bytes::from(seed),
        ..Rendered::new(ResourceType::Endpoints, cluster, message.encode_to_vec())
    }
}

fn assignment(cluster: &str, lb_endpoints: Vec<LbEndpoint>) -> ClusterLoadAssignment {
    let endpoints = if lb_endpoints.is_empty() {
        Vec::new()
    } else {
        vec![LocalityLbEndpoints {
            lb_endpoints,
            ..LocalityLbEndpoints::default()
        }]
    };
    ClusterLoadAssignment {
        cluster_name: cluster.to_owned(),
        endpoints,
        ..ClusterLoadAssignment::default()
    }
}

fn lb_endpoint(address: Address, health: HealthStatus) -> LbEndpoint {
    LbEndpoint {
        health_status: health.into(),
        host_identifier: Some(HostIdentifier::Endpoint(Endpoint {
            address: Some(address),
            ..Endpoint::default()
        })),
        ..LbEndpoint::default()
    }
}

fn unreachable_pipe() -> Address {
    Address {
        address: Some(address::Address::Pipe(Pipe {
            path: UNREACHABLE_PIPE.to_owned(),
            ..Pipe::default()
        })),
    }
}
