//! The real Envoy's opinion of what is rendered here, by `--mode validate`.
//!
//! What it validates: the sidecar's bootstrap as it is; every listener and cluster as it
//! is, put where a bootstrap takes static ones; every load assignment as it is, as that of
//! a cluster whose type is static, since a file has no place for EDS. What it does not:
//! what happens on a stream, and that the assignments suit EDS clusters; see `streamed`.

use std::time::Duration;

use envoy_types::pb::envoy::config::{
    bootstrap::v3::{
        Bootstrap as BootstrapMessage,
        bootstrap::{DynamicResources, StaticResources},
    },
    cluster::v3::{
        Cluster,
        cluster::{ClusterDiscoveryType, DiscoveryType},
    },
    core::v3::{
        ApiConfigSource, ApiVersion, GrpcService, Node,
        api_config_source::ApiType,
        grpc_service::{EnvoyGrpc, TargetSpecifier},
    },
    endpoint::v3::ClusterLoadAssignment,
    listener::v3::Listener,
};
use pointsman_catalog::UnixMillis;
use pointsman_envoy_config::{Bootstrap, CONTROL_PLANE_CLUSTER, Rendered, Transport};
use pointsman_lab::envoy::Envoy;
use pointsman_xds::ResourceType;
use prost::Message as _;

use super::{
    fleet::Fleet,
    sidecar::{LISTEN, NODE},
};

#[tokio::test]
async fn the_bootstrap_is_accepted() {
    for (transport, xds, cache) in [
        (Transport::Delta, "[::1]:18000", None),
        (
            Transport::Delta,
            "[::1]:18000",
            Some("unix:/run/cache.sock"),
        ),
        (Transport::StateOfTheWorld, "localhost:18000", None),
    ] {
        let bootstrap = Bootstrap {
            node: NODE.to_owned(),
            listen: LISTEN,
            xds: xds.parse().unwrap(),
            admin: Some("127.0.0.1:9901".parse().unwrap()),
            transport,
            tls: None,
            max_downstream_connections: 10_000,
            cache: cache.map(|socket| socket.parse().unwrap()),
        };
        let verdict = validate("bootstrap.json", bootstrap.render().as_bytes()).await;
        verdict.unwrap_or_else(|message| panic!("{transport:?}: {message}"));
    }
}

#[tokio::test]
async fn every_resource_of_a_fleet_is_accepted() {
    let fleet = fleet();
    let bootstrap = as_static(&fleet.render(LISTEN));
    let resources = bootstrap.static_resources.clone().unwrap_or_default();
    let databases = fleet.databases.len();
    assert_eq!(resources.listeners.len(), 2 * databases);
    assert_eq!(resources.clusters.len(), 1 + 2 * 3 * databases);
    let verdict = validate("fleet.pb", &bootstrap.encode_to_vec()).await;
    verdict.unwrap_or_else(|message| panic!("{message}"));
}

/// So that the acceptance above means something.
#[tokio::test]
async fn a_load_assignment_with_a_name_in_it_is_not_accepted() {
    let mut resources = fleet().render(LISTEN);
    let assignment = resources
        .iter_mut()
        .find(|resource| {
            resource.kind == ResourceType::Endpoints && resource.name == "writer.served"
        })
        .unwrap();
    let body = assignment.body.to_vec();
    let address = body
        .windows(BLUE_IP.len())
        .position(|window| window == BLUE_IP.as_bytes())
        .unwrap();
    let mut spoilt = body;
    spoilt[address..address + BLUE_IP.len()].copy_from_slice(b"blue.host");
    assignment.body = spoilt.into();
    let verdict = validate("spoilt.pb", &as_static(&resources).encode_to_vec()).await;
    let message = verdict.unwrap_err();
    assert!(
        message.contains("malformed IP address: blue.host"),
        "{message}"
    );
}

const BLUE_IP: &str = "10.1.1.21";

fn fleet() -> Fleet {
    let blue = format!("{BLUE_IP}:5432").parse().unwrap();
    let until = UnixMillis::now().plus(Duration::from_secs(3600));
    // Nothing listens when a configuration is only looked at.
    let mut ports = 6432..;
    Fleet::with_every_route(blue, until, || ports.next().unwrap())
}

/// A bootstrap with `resources` as static ones, and the control plane that their EDS and
/// access log ask for.
fn as_static(resources: &[Rendered]) -> BootstrapMessage {
    let mut fixed = StaticResources {
        clusters: vec![static_cluster(CONTROL_PLANE_CLUSTER, None)],
        ..StaticResources::default()
    };
    for Rendered {
        kind, name, body, ..
    } in resources
    {
        let body = body.clone();
        if *kind == ResourceType::Listener {
            fixed.listeners.push(Listener::decode(body).unwrap());
        } else if *kind == ResourceType::Cluster {
            fixed.clusters.push(Cluster::decode(body).unwrap());
        } else if *kind == ResourceType::Endpoints {
            let assignment = ClusterLoadAssignment::decode(body).unwrap();
            let name = format!("assignment of {name}");
            fixed.clusters.push(static_cluster(&name, Some(assignment)));
        } else {
            // Layers of runtime settings are no static resources.
            assert_eq!(*kind, ResourceType::Runtime, "{name}");
        }
    }
    BootstrapMessage {
        node: Some(Node {
            id: NODE.to_owned(),
            cluster: "test".to_owned(),
            ..Node::default()
        }),
        static_resources: Some(fixed),
        dynamic_resources: Some(DynamicResources {
            ads_config: Some(ads()),
            ..DynamicResources::default()
        }),
        ..BootstrapMessage::default()
    }
}

fn static_cluster(name: &str, load_assignment: Option<ClusterLoadAssignment>) -> Cluster {
    let empty = || ClusterLoadAssignment {
        cluster_name: name.to_owned(),
        ..ClusterLoadAssignment::default()
    };
    Cluster {
        name: name.to_owned(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Static.into())),
        load_assignment: Some(load_assignment.unwrap_or_else(empty)),
        ..Cluster::default()
    }
}

fn ads() -> ApiConfigSource {
    ApiConfigSource {
        api_type: ApiType::DeltaGrpc.into(),
        transport_api_version: ApiVersion::V3.into(),
        grpc_services: vec![GrpcService {
            target_specifier: Some(TargetSpecifier::EnvoyGrpc(EnvoyGrpc {
                cluster_name: CONTROL_PLANE_CLUSTER.to_owned(),
                ..EnvoyGrpc::default()
            })),
            ..GrpcService::default()
        }],
        ..ApiConfigSource::default()
    }
}

/// What Envoy says against the bootstrap `contents`, a file called `name` (the ending tells
/// Envoy what is in it).
async fn validate(name: &str, contents: &[u8]) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    let validated = Envoy::validate(folder.path(), name, contents).await;
    validated.map_err(|error| format!("{error:#}"))
}
