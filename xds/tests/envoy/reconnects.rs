//! What goes over the wire when Envoy comes back, and what another server makes of it.

use std::time::Duration;

use envoy_types::pb::{
    envoy::config::{cluster::v3::Cluster, core::v3::Metadata, listener::v3::Listener},
    google::protobuf::{Struct, Value, value::Kind},
};
use pointsman_lab::{gate::Gate, ports::free_port};
use pointsman_xds::{Resource, ResourceType};

use crate::{
    control_plane::ControlPlane,
    process::{BOTH, Envoy, loopback},
    resources::{cluster, endpoints},
    served_config::{ServedConfig, edited},
    traffic::{Backend, answers, refused},
};

/// A second server knows nothing of the first one's streams.
#[tokio::test]
async fn t18_another_server_takes_over_and_takes_away() {
    for transport in BOTH {
        let backend = Backend::start('a').await;
        let config = ServedConfig::new(free_port(), backend.port());
        let extra = ServedConfig {
            cluster: "extra".to_owned(),
            listener: "extra".to_owned(),
            ..ServedConfig::new(free_port(), backend.port())
        };
        let mut both = config.resources();
        both.extend(extra.route());
        let first = ControlPlane::start().await;
        first.publish(both);
        let port = first.port;
        let _envoy = Envoy::start(port, transport).await;
        answers(config.front, &backend).await;
        answers(extra.front, &backend).await;
        first.stop().await;

        answers(config.front, &backend).await;
        let second = ControlPlane::at(port).await;
        second.flip(config.resources()).await;
        answers(config.front, &backend).await;
        refused(extra.front).await;
    }
}

/// Content of which even one resource is noticed: bytes, of each.
const BULK: usize = 8 << 10;

/// So many clusters, heavy, and their endpoints, light; a heavy listener.
fn heavy(config: &ServedConfig, count: usize) -> Vec<Resource> {
    let mut resources = config.resources();
    for number in 0..count {
        let name = format!("bulk-{number}");
        resources.push(cluster(&name, Duration::from_secs(1)));
        resources.push(endpoints(&name, config.backend));
    }
    for resource in &mut resources {
        if resource.kind() == ResourceType::Cluster {
            *resource = edited(resource, |cluster: &mut Cluster| {
                cluster.metadata = Some(ballast());
            });
        }
        if resource.kind() == ResourceType::Listener {
            *resource = edited(resource, |listener: &mut Listener| {
                listener.metadata = Some(ballast());
            });
        }
    }
    resources
}

fn ballast() -> Metadata {
    let text = Value {
        kind: Some(Kind::StringValue("x".repeat(BULK))),
    };
    let fields = [("text".to_owned(), text)].into();
    Metadata {
        filter_metadata: [("ballast".to_owned(), Struct { fields })].into(),
        ..Default::default()
    }
}

/// The least that sends these resources: their entries in a response.
fn wire_size(resources: &[Resource], kind: ResourceType) -> u64 {
    let sizes = resources.iter().filter(|resource| resource.kind() == kind);
    let sizes = sizes.map(|resource| resource.body().len() + kind.type_url().len());
    sizes.sum::<usize>() as u64
}

/// Counted in bytes, from the server to Envoy, on the connection that replaces one that was
/// cut: with all that HTTP/2 and the protocol add, less than the endpoints and one more
/// resource.
#[tokio::test]
async fn a_reconnect_sends_the_endpoints_again_and_nothing_else() {
    for transport in BOTH {
        let backend = Backend::start('a').await;
        let server = ControlPlane::start().await;
        let gate = Gate::start(loopback(server.port)).await.unwrap();
        let config = ServedConfig::new(free_port(), backend.port());
        let resources = heavy(&config, 100);
        server.publish(resources.clone());
        let envoy = Envoy::start(gate.address().port(), transport).await;
        answers(config.front, &backend).await;
        server.flip(resources.clone()).await;
        let first = gate.received();
        let bulk = wire_size(&resources, ResourceType::Cluster);
        assert!(first > bulk, "{first} bytes");

        let mut changed = resources.clone();
        for round in 1..=5 {
            gate.cut();
            server.stands(|node| node.streams == 0).await;
            server.stands(|node| node.synced).await;
            assert_eq!(gate.connections(), 1 + round);
            // An acknowledgement of this publish comes after those of the reconnect.
            changed[1] = endpoints("db", if round % 2 == 0 { config.backend } else { 9 });
            server.flip(changed.clone()).await;
            let again = gate.received();
            let needed = wire_size(&resources, ResourceType::Endpoints);
            assert!(again >= needed, "{transport:?}: {again} of {needed} bytes");
            let bound = 2 * needed + BULK as u64;
            assert!(
                again < bound,
                "{transport:?}: {again} bytes, {needed} needed"
            );
        }
        assert_eq!(envoy.stats("init_fetch_timeout").await, 0);
    }
}
