//! What a real Envoy makes of what the server sends, over both forms of the protocol.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests, too, fail by panicking"
)]

#[path = "envoy/control_plane.rs"]
mod control_plane;
#[path = "envoy/process.rs"]
mod process;
#[path = "../examples/flip/resources.rs"]
mod resources;

use std::time::Duration;

use pointsman_xds::{Outcome, Resource, ResourceType};

use crate::{
    control_plane::{Backend, ControlPlane, answers},
    process::{Envoy, Transport, free_port},
    resources::{cluster, endpoints, listener, runtime},
};

/// One cluster, one listener that forwards to it, and the runtime layer of the bootstrap.
fn world(name: &str, front: u16, backend: u32) -> Vec<Resource> {
    vec![
        cluster(name, Duration::from_secs(1)),
        endpoints(name, backend),
        listener("front", front, name),
        runtime("layer"),
    ]
}

const BOTH: [Transport; 2] = [Transport::Delta, Transport::StateOfTheWorld];

/// Envoy's own fetch timeout is 15 s: what waits for it has been left without an answer.
const PROMPT: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_flip_moves_connections_and_is_acknowledged() {
    for transport in BOTH {
        let (a, b) = (Backend::start("a").await, Backend::start("b").await);
        let front = free_port();
        let server = ControlPlane::start().await;
        server.publish(world("db", front, a.port()));
        let _envoy = Envoy::start(server.port, transport);
        answers(front, "a").await;
        for (backend, name) in [(&b, "b"), (&a, "a"), (&b, "b")] {
            let sequence = server.publish(world("db", front, backend.port()));
            let convergence = server.converge(sequence).await;
            assert!(convergence.reached, "{transport:?}: {convergence:?}");
            answers(front, name).await;
        }
    }
}

/// A changed cluster warms anew, and Envoy withholds its ACK until the endpoints are there.
#[tokio::test]
async fn x43_a_changed_cluster_is_acknowledged_promptly() {
    for transport in BOTH {
        let backend = Backend::start("a").await;
        let front = free_port();
        let server = ControlPlane::start().await;
        let mut world = world("db", front, backend.port());
        server.publish(world.clone());
        let _envoy = Envoy::start(server.port, transport);
        answers(front, "a").await;
        for seconds in 2..6 {
            world[0] = cluster("db", Duration::from_secs(seconds));
            let sequence = server.publish(world.clone());
            let convergence = server.converge(sequence).await;
            assert!(convergence.reached, "{transport:?}: {convergence:?}");
            assert!(convergence.took < PROMPT, "{transport:?}: {convergence:?}");
        }
        answers(front, "a").await;
    }
}

/// Everything is replaced by one publish, the listener's name included, on the same port.
#[tokio::test]
async fn x42_one_publish_swaps_a_whole_world() {
    for transport in BOTH {
        let (a, b) = (Backend::start("a").await, Backend::start("b").await);
        let front = free_port();
        let server = ControlPlane::start().await;
        server.publish(world("old", front, a.port()));
        let _envoy = Envoy::start(server.port, transport);
        answers(front, "a").await;
        let sequence = server.publish(world("new", front, b.port()));
        let convergence = server.converge(sequence).await;
        assert!(convergence.reached, "{transport:?}: {convergence:?}");
        assert!(convergence.took < PROMPT, "{transport:?}: {convergence:?}");
        answers(front, "b").await;

        let mut renamed = world("new", front, b.port());
        renamed[2] = listener("renamed", front, "new");
        let sequence = server.publish(renamed);
        let convergence = server.converge(sequence).await;
        assert!(convergence.reached, "{transport:?}: {convergence:?}");
        answers(front, "b").await;
    }
}

#[tokio::test]
async fn t09_what_envoy_refuses_is_named_and_the_rest_gets_there() {
    for transport in BOTH {
        let (a, b) = (Backend::start("a").await, Backend::start("b").await);
        let (front, other) = (free_port(), free_port());
        let with = |good: u32, bad: u32| {
            let mut world = world("bad", front, bad);
            world.push(cluster("good", Duration::from_secs(1)));
            world.push(endpoints("good", good));
            world.push(listener("other", other, "good"));
            world
        };
        let server = ControlPlane::start().await;
        server.publish(with(a.port(), a.port()));
        let _envoy = Envoy::start(server.port, transport);
        answers(front, "a").await;
        answers(other, "a").await;

        let sequence = server.publish(with(b.port(), 70_000));
        let convergence = server.converge(sequence).await;
        let Outcome::Nacked {
            kind,
            resources,
            words,
        } = &convergence.nodes[0].1
        else {
            panic!("{transport:?}: {convergence:?}");
        };
        assert_eq!(*kind, ResourceType::Endpoints);
        assert_eq!(&*resources[0], "bad");
        assert!(words.contains("65535"), "{words}");

        let sequence = server.publish(with(b.port(), b.port()));
        let convergence = server.converge(sequence).await;
        assert!(convergence.reached, "{transport:?}: {convergence:?}");
        answers(front, "b").await;
        answers(other, "b").await;
    }
}

/// A second server knows nothing of the first one's streams.
#[tokio::test]
async fn t18_another_server_takes_over_and_takes_away() {
    for transport in BOTH {
        let backend = Backend::start("a").await;
        let (front, other) = (free_port(), free_port());
        let mut both = world("db", front, backend.port());
        both.push(cluster("extra", Duration::from_secs(1)));
        both.push(endpoints("extra", backend.port()));
        both.push(listener("other", other, "extra"));
        let first = ControlPlane::start().await;
        first.publish(both);
        let port = first.port;
        let _envoy = Envoy::start(port, transport);
        answers(front, "a").await;
        answers(other, "a").await;
        first.stop().await;

        answers(front, "a").await;
        let second = ControlPlane::at(port).await;
        let sequence = second.publish(world("db", front, backend.port()));
        let convergence = second.converge(sequence).await;
        assert!(convergence.reached, "{transport:?}: {convergence:?}");
        answers(front, "a").await;
        control_plane::refused(other).await;
    }
}
