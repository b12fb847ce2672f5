//! A control plane in one file: one TCP listener, one EDS cluster, and a flip between two
//! backends for each line on standard input. It prints when each publish has converged.
//!
//! ```text
//! cargo run -p pointsman-xds --example flip -- 18000 16000 15001 15002
//! ```
//!
//! The arguments are ports on loopback: of the control plane, of Envoy's listener, of the two
//! backends. Every client is admitted, whatever it calls itself.

use std::{
    collections::BTreeMap,
    error::Error,
    io::{BufRead as _, Write as _},
    net::Ipv4Addr,
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use envoy_types::{
    pb::{
        envoy::{
            config::{
                cluster::v3::{
                    Cluster,
                    cluster::{ClusterDiscoveryType, DiscoveryType, EdsClusterConfig},
                },
                core::v3::{
                    Address, AggregatedConfigSource, ApiVersion, ConfigSource, SocketAddress,
                    address, config_source::ConfigSourceSpecifier, socket_address::PortSpecifier,
                },
                endpoint::v3::{
                    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints,
                    lb_endpoint::HostIdentifier,
                },
                listener::v3::{Filter, FilterChain, Listener, filter::ConfigType},
            },
            extensions::filters::network::tcp_proxy::v3::{TcpProxy, tcp_proxy::ClusterSpecifier},
            service::runtime::v3::Runtime,
        },
        google::protobuf,
    },
    util::pack_any,
};
use pointsman_xds::{
    Fleet, Group, Limits, NoTelemetry, NodeDescription, NodeDirectory, Policy, Refusal, Resource,
    ResourceType, Snapshot, SnapshotCache, SnapshotError, XdsServer,
};
use tokio::{net::TcpListener, sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let ports: Vec<u16> = std::env::args()
        .skip(1)
        .map(|port| port.parse())
        .collect::<Result<_, _>>()?;
    let [xds, listen, a, b] = ports[..] else {
        return Err("usage: flip XDS_PORT LISTEN_PORT BACKEND_A BACKEND_B".into());
    };
    let cache = Arc::new(SnapshotCache::new());
    let fleet = Arc::new(Fleet::new(Arc::clone(&cache)));
    let stop = CancellationToken::new();
    let server = XdsServer::new(
        Arc::clone(&cache),
        Arc::clone(&fleet),
        Arc::new(Everybody),
        Arc::new(NoTelemetry),
        Limits::default(),
    );
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, xds)).await?;
    let serving = server.serve(listener, stop.clone());
    let flipping = async {
        let outcome = flip(&cache, &fleet, listen, [a, b]).await;
        stop.cancel();
        outcome
    };
    let (served, flipped) = tokio::join!(serving, flipping);
    served?;
    flipped
}

/// Publishes once, then once for each line.
async fn flip(
    cache: &SnapshotCache,
    fleet: &Fleet,
    listen: u16,
    backends: [u16; 2],
) -> Result<(), Box<dyn Error>> {
    let mut lines = lines();
    for backend in backends.into_iter().cycle() {
        let began = Instant::now();
        let snapshot = snapshot(listen, backend)?;
        let sequence = cache.publish(BTreeMap::from([(group(), snapshot)]));
        let deadline = Instant::now() + Duration::from_secs(5);
        // Whoever is connected is the fleet.
        fleet.set_registered(fleet.status().into_iter().map(|node| node.id));
        let convergence = fleet
            .converge(sequence, Policy::AllConnected, deadline)
            .await;
        let took = began.elapsed();
        let nodes = convergence.nodes;
        writeln!(
            std::io::stdout(),
            "publish {sequence} to backend {backend}: {took:?} {nodes:?}"
        )?;
        if lines.recv().await.is_none() {
            break;
        }
    }
    Ok(())
}

/// Standard input; the channel closes at its end.
fn lines() -> mpsc::Receiver<()> {
    let (sender, lines) = mpsc::channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            if line.is_err() || sender.blocking_send(()).is_err() {
                break;
            }
        }
    });
    lines
}

fn snapshot(listen: u16, backend: u16) -> Result<Snapshot, SnapshotError> {
    Snapshot::builder()
        .insert(resource(ResourceType::Cluster, "backend", &cluster()))
        .insert(resource(
            ResourceType::Endpoints,
            "backend",
            &endpoints(backend),
        ))
        .insert(resource(ResourceType::Listener, "front", &listener(listen)))
        .insert(resource(ResourceType::Runtime, "layer", &runtime()))
        .build()
}

fn cluster() -> Cluster {
    Cluster {
        name: "backend".to_owned(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds as i32)),
        eds_cluster_config: Some(EdsClusterConfig {
            eds_config: Some(ConfigSource {
                resource_api_version: ApiVersion::V3 as i32,
                config_source_specifier: Some(ConfigSourceSpecifier::Ads(
                    AggregatedConfigSource {},
                )),
                ..Default::default()
            }),
            ..Default::default()
        }),
        connect_timeout: Some(protobuf::Duration {
            seconds: 1,
            nanos: 0,
        }),
        ..Default::default()
    }
}

fn endpoints(port: u16) -> ClusterLoadAssignment {
    let endpoint = LbEndpoint {
        host_identifier: Some(HostIdentifier::Endpoint(Endpoint {
            address: Some(loopback(port)),
            ..Default::default()
        })),
        ..Default::default()
    };
    ClusterLoadAssignment {
        cluster_name: "backend".to_owned(),
        endpoints: vec![LocalityLbEndpoints {
            lb_endpoints: vec![endpoint],
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn listener(port: u16) -> Listener {
    let proxy = TcpProxy {
        stat_prefix: "front".to_owned(),
        cluster_specifier: Some(ClusterSpecifier::Cluster("backend".to_owned())),
        ..Default::default()
    };
    Listener {
        name: "front".to_owned(),
        address: Some(loopback(port)),
        enable_reuse_port: Some(protobuf::BoolValue { value: false }),
        filter_chains: vec![FilterChain {
            filters: vec![Filter {
                name: "envoy.filters.network.tcp_proxy".to_owned(),
                config_type: Some(ConfigType::TypedConfig(pack_any(proxy))),
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn runtime() -> Runtime {
    Runtime {
        name: "layer".to_owned(),
        layer: Some(protobuf::Struct::default()),
    }
}

fn loopback(port: u16) -> Address {
    Address {
        address: Some(address::Address::SocketAddress(SocketAddress {
            address: Ipv4Addr::LOCALHOST.to_string(),
            port_specifier: Some(PortSpecifier::PortValue(port.into())),
            ..Default::default()
        })),
    }
}

fn resource(kind: ResourceType, name: &str, message: &impl prost::Message) -> Resource {
    Resource::new(kind, name, Bytes::from(message.encode_to_vec()))
}

fn group() -> Group {
    Group::new("everybody")
}

#[derive(Debug)]
struct Everybody;

#[async_trait]
impl NodeDirectory for Everybody {
    async fn admit(&self, _node: &NodeDescription) -> Result<Group, Refusal> {
        Ok(group())
    }
}
