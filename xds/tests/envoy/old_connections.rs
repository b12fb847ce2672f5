//! Connections that are open when the endpoint changes.

use envoy_types::pb::{
    envoy::config::{
        core::v3::{HealthStatus, Metadata},
        endpoint::v3::ClusterLoadAssignment,
        listener::v3::Listener,
    },
    google::protobuf::{Struct, Value, value::Kind},
};
use pointsman_lab::{patience::until, ports::free_port};
use pointsman_xds::{Resource, ResourceType};

use crate::{
    control_plane::ControlPlane,
    process::{BOTH, Envoy},
    resources::endpoints,
    served_config::{ServedConfig, edited},
    traffic::{Backend, Session, answers},
};

/// How many connections Envoy has to an endpoint that it knows.
async fn active(envoy: &Envoy, backend: &Backend) -> Option<u64> {
    let clusters = envoy.admin("/clusters").await.unwrap();
    let prefix = format!("db::127.0.0.1:{}::cx_active::", backend.port());
    let mut lines = clusters.lines();
    lines.find_map(|line| line.strip_prefix(&prefix)?.parse().ok())
}

/// The config with `old`'s endpoint beside the new one, for the connections that it has, and
/// with a number in the listener's filter chain.
fn keeping(config: &ServedConfig, old: &Backend, generation: u32) -> Vec<Resource> {
    let old = endpoints("db", old.port());
    let mut resources = config.resources();
    for resource in &mut resources {
        if resource.kind() == ResourceType::Endpoints {
            let mut drained = Vec::new();
            edited(&old, |old: &mut ClusterLoadAssignment| {
                drained = std::mem::take(&mut old.endpoints[0].lb_endpoints);
            });
            drained[0].health_status = HealthStatus::Draining as i32;
            *resource = edited(resource, |assignment: &mut ClusterLoadAssignment| {
                assignment.endpoints[0].lb_endpoints.append(&mut drained);
            });
        }
        if resource.kind() == ResourceType::Listener {
            *resource = edited(resource, |listener: &mut Listener| {
                listener.filter_chains[0].metadata = Some(numbered(generation));
            });
        }
    }
    resources
}

fn numbered(generation: u32) -> Metadata {
    let number = Value {
        kind: Some(Kind::NumberValue(generation.into())),
    };
    let fields = [("number".to_owned(), number)].into();
    Metadata {
        filter_metadata: [("generation".to_owned(), Struct { fields })].into(),
        ..Default::default()
    }
}

/// A change of the endpoints leaves established connections alone. As long as the old endpoint
/// stays, draining, they are counted; a change of the filter chain ends them.
#[tokio::test]
async fn t30_connections_to_the_old_endpoint_are_counted_and_then_closed() {
    const OPEN: usize = 20;
    for transport in BOTH {
        let (a, b) = (Backend::start('a').await, Backend::start('b').await);
        let server = ControlPlane::start().await;
        let mut config = ServedConfig::new(free_port(), a.port());
        server.publish(keeping(&config, &b, 1));
        let envoy = Envoy::start(server.port, transport).await;
        answers(config.front, &a).await;
        let mut sessions = Vec::new();
        for _ in 0..OPEN {
            sessions.push(Session::open(config.front).await.unwrap());
        }
        assert!(sessions.iter().all(|session| session.backend == 'a'));

        config.backend = b.port();
        server.flip(keeping(&config, &a, 1)).await;
        answers(config.front, &b).await;
        for session in &mut sessions {
            session.echo().await.unwrap();
        }
        until("the count of what is left", async || {
            (active(&envoy, &a).await == Some(OPEN as u64)).then_some(())
        })
        .await;

        server.flip(keeping(&config, &a, 2)).await;
        for session in sessions {
            session.ended().await;
        }
        answers(config.front, &b).await;
        until("the end of what was left", async || {
            (active(&envoy, &a).await == Some(0)).then_some(())
        })
        .await;
        let in_place = "listener_manager.listener_in_place_updated";
        assert_eq!(envoy.stats(in_place).await, 1);
    }
}

/// Envoy forgets an endpoint that is taken away, not the connections to it.
#[tokio::test]
async fn t30_connections_to_an_endpoint_that_is_gone_are_counted_by_the_cluster() {
    const OPEN: usize = 20;
    for transport in BOTH {
        let (a, b) = (Backend::start('a').await, Backend::start('b').await);
        let mut config = ServedConfig::new(free_port(), a.port());
        let (server, envoy) = config.served(&a, transport).await;
        let mut sessions = Vec::new();
        for _ in 0..OPEN {
            sessions.push(Session::open(config.front).await.unwrap());
        }
        config.backend = b.port();
        server.flip(config.resources()).await;
        answers(config.front, &b).await;
        assert_eq!(active(&envoy, &a).await, None);
        until("the count of what is left", async || {
            let count = envoy.stats("cluster.db.upstream_cx_active").await;
            (count == OPEN as u64).then_some(())
        })
        .await;
        for session in &mut sessions {
            session.echo().await.unwrap();
        }
    }
}
