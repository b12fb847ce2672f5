//! The real Envoy's opinion of what is rendered here, by `--mode validate`.
//!
//! What it validates: the sidecar's bootstrap as it is; every listener and cluster as it
//! is, put where a bootstrap takes static ones; every load assignment as it is, as that of
//! a cluster whose type is static, since a file has no place for EDS. What it does not:
//! anything that happens on a stream, and that the assignments suit EDS clusters.
#![expect(
    clippy::unwrap_used,
    reason = "clippy knows tests, and not their helpers"
)]

use std::{
    collections::BTreeMap,
    net::IpAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

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
use pointsman_catalog::{
    Database, DatabaseName, Epoch, ListenPorts, NodeId, Route, Routes, ServerName, UnixMillis,
};
use pointsman_envoy_config::{
    Bootstrap, CONTROL_PLANE_CLUSTER, Rendered, ServedDatabase, Transport,
    resources::{Addresses, listeners, shared},
};
use pointsman_xds::ResourceType;
use prost::Message as _;
use tokio::{process::Command, time::timeout};

const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

#[tokio::test]
async fn the_bootstrap_is_accepted() {
    let transports = [Transport::Delta, Transport::StateOfTheWorld];
    for (transport, xds) in transports
        .into_iter()
        .zip(["[::1]:18000", "localhost:18000"])
    {
        let bootstrap = Bootstrap {
            node: NodeId::new("app-1").unwrap(),
            listen: IpAddr::from([127, 0, 0, 11]),
            xds: xds.parse().unwrap(),
            admin: Some("127.0.0.1:9901".parse().unwrap()),
            transport,
            max_downstream_connections: 10_000,
        };
        let words = validate("bootstrap.json", bootstrap.render().as_bytes()).await;
        words.unwrap_or_else(|words| panic!("{transport:?}: {words}"));
    }
}

#[tokio::test]
async fn every_resource_of_a_fleet_is_accepted() {
    let fleet = Fleet::with_every_route();
    let bootstrap = as_static(&fleet.render());
    let resources = bootstrap.static_resources.clone().unwrap_or_default();
    let databases = fleet.databases.len();
    assert_eq!(resources.listeners.len(), 2 * databases);
    assert_eq!(resources.clusters.len(), 1 + 2 * 3 * databases);
    let words = validate("fleet.pb", &bootstrap.encode_to_vec()).await;
    words.unwrap_or_else(|words| panic!("{words}"));
}

/// So that the acceptance above means something.
#[tokio::test]
async fn a_load_assignment_with_a_name_in_it_is_not_accepted() {
    let mut resources = Fleet::with_every_route().render();
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
    let words = validate("spoilt.pb", &as_static(&resources).encode_to_vec()).await;
    let words = words.unwrap_err();
    assert!(words.contains("malformed IP address: blue.host"), "{words}");
}

const BLUE_IP: &str = "10.1.1.21";

struct Fleet {
    databases: Vec<(Database, Routes)>,
}

impl Fleet {
    /// A database for each state in which a route can be.
    fn with_every_route() -> Self {
        let hold = |from: Vec<ServerName>| Route::Hold {
            from,
            since: NOW,
            until: NOW.plus(Duration::from_secs(10)),
        };
        let drained = Route::Serve {
            servers: vec![server("green"), server("v6")],
            draining: vec![server("blue")],
        };
        let states = [
            ("served", Route::serve(vec![server("blue")])),
            ("moved.to_green-1", drained),
            ("held", hold(vec![server("blue"), server("v6")])),
            ("held-from-nowhere", hold(Vec::new())),
            ("refused", Route::Refuse),
        ];
        let databases = states.into_iter().zip((6432..).step_by(2));
        let databases = databases.map(|((name, route), port)| {
            let routes = Routes {
                epoch: Epoch(1),
                writer: route.clone(),
                reader: route,
            };
            (database(name, port), routes)
        });
        Self {
            databases: databases.collect(),
        }
    }

    fn render(&self) -> Vec<Rendered> {
        let addresses: Addresses = BTreeMap::from([
            (
                server("blue"),
                vec![format!("{BLUE_IP}:5432").parse().unwrap()],
            ),
            (server("green"), vec!["10.1.1.22:5432".parse().unwrap()]),
            (server("v6"), vec!["[2001:db8::1]:5432".parse().unwrap()]),
        ]);
        let probed = [server("green")];
        let served: Vec<_> = self
            .databases
            .iter()
            .map(|(database, routes)| ServedDatabase {
                database,
                routes,
                probe_targets: if routes.writer == Route::Refuse {
                    &[]
                } else {
                    &probed
                },
            })
            .collect();
        let mut resources = shared(&served, &addresses, NOW).unwrap();
        let databases = self.databases.iter().map(|(database, _)| database);
        resources.extend(listeners(IpAddr::from([127, 0, 0, 11]), databases).unwrap());
        resources
    }
}

fn server(name: &str) -> ServerName {
    ServerName::new(name).unwrap()
}

fn database(name: &str, port: u16) -> Database {
    Database {
        name: DatabaseName::new(name).unwrap(),
        datname: "orders".to_owned(),
        writer: server("blue"),
        readers: Vec::new(),
        listen: ListenPorts {
            writer: port,
            reader: port + 1,
        },
    }
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
        match kind {
            ResourceType::Listener => fixed.listeners.push(Listener::decode(body).unwrap()),
            ResourceType::Cluster => fixed.clusters.push(Cluster::decode(body).unwrap()),
            ResourceType::Endpoints => {
                let assignment = ClusterLoadAssignment::decode(body).unwrap();
                let name = format!("assignment of {name}");
                fixed.clusters.push(static_cluster(&name, Some(assignment)));
            }
            ResourceType::Runtime => {}
            ResourceType::Route | ResourceType::Secret => panic!("{name} is a {kind}"),
        }
    }
    BootstrapMessage {
        node: Some(Node {
            id: "app-1".to_owned(),
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
    let file = folder.path().join(name);
    std::fs::write(&file, contents).unwrap();
    let output = Command::new(envoy())
        .args(["--mode", "validate", "--log-level", "error", "-c"])
        .arg(&file)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = timeout(DEADLINE, output).await.unwrap().unwrap();
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

const DEADLINE: Duration = Duration::from_secs(60);

/// The binary named by `POINTSMAN_ENVOY`, or else the one that `tests/setup/envoy.sh` has
/// installed; that script leaves its path in a file.
fn envoy() -> PathBuf {
    if let Some(path) = std::env::var_os("POINTSMAN_ENVOY") {
        return path.into();
    }
    let lab = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.lab/envoy");
    let installed = std::fs::read_dir(&lab).ok().into_iter().flatten().flatten();
    let mark = installed.map(|entry| entry.path()).find(|path| {
        path.file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(MARK))
    });
    let binary = mark.and_then(|mark| std::fs::read_to_string(mark).ok());
    let binary = binary.unwrap_or_else(|| {
        panic!(
            "Envoy is not installed: run tests/setup/envoy.sh, or name a binary in POINTSMAN_ENVOY"
        )
    });
    binary.trim_end().into()
}

const MARK: &[u8] = b"pointsman-envoy-";
