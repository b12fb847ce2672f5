//! What Envoy takes of a response that it refuses, and how it is put right.

use envoy_types::pb::envoy::config::listener::v3::Listener;
use pointsman_lab::{gate::Gate, ports::free_port};
use pointsman_xds::Resource;

use crate::{
    control_plane::ControlPlane,
    process::{BOTH, Envoy, loopback},
    resources::{cluster, endpoints, listener, runtime},
    served_config::edited,
    traffic::{Backend, answers},
};

/// Two listeners, each with a cluster and a backend of its own.
struct Two {
    fronts: [u16; 2],
    backends: [Backend; 2],
}

impl Two {
    async fn start() -> Self {
        Self {
            fronts: [free_port(), free_port()],
            backends: [Backend::start('a').await, Backend::start('b').await],
        }
    }

    /// Both clusters, with these listeners.
    fn with(&self, listeners: impl IntoIterator<Item = Resource>) -> Vec<Resource> {
        let second = std::time::Duration::from_secs(1);
        let mut all = vec![runtime("layer")];
        for (name, backend) in NAMES.into_iter().zip(&self.backends) {
            all.extend([cluster(name, second), endpoints(name, backend.port())]);
        }
        all.extend(listeners);
        all
    }

    /// The listener of this number, which forwards to the cluster of that one.
    fn listener(&self, number: usize, cluster: usize) -> Resource {
        listener(NAMES[number], self.fronts[number], NAMES[cluster])
    }

    fn good(&self) -> Vec<Resource> {
        self.with([self.listener(0, 0), self.listener(1, 1)])
    }

    async fn is_good(&self) {
        for (front, backend) in self.fronts.into_iter().zip(&self.backends) {
            answers(front, backend).await;
        }
    }
}

fn broken(resource: &Resource) -> Resource {
    edited::<Listener>(resource, |listener| listener.filter_chains.clear())
}

#[tokio::test]
async fn a_listener_removed_in_a_nacked_response_is_sent_again() {
    for transport in BOTH {
        let two = Two::start().await;
        let server = ControlPlane::start().await;
        server.publish(two.good());
        let _envoy = Envoy::start(server.port, transport).await;
        two.is_good().await;
        let bad = server.publish(two.with([broken(&two.listener(0, 0))]));
        assert!(!server.converge(bad).await.reached);
        server.flip(two.good()).await;
        two.is_good().await;
    }
}

/// Envoy says on its next stream that it has what it accepted last.
#[tokio::test]
async fn listeners_of_a_nacked_response_are_replaced_after_a_reconnect() {
    for transport in BOTH {
        let two = Two::start().await;
        let server = ControlPlane::start().await;
        let gate = Gate::start(loopback(server.port)).await.unwrap();
        server.publish(two.good());
        let _envoy = Envoy::start(gate.address().port(), transport).await;
        two.is_good().await;
        let moved = [broken(&two.listener(0, 0)), two.listener(1, 0)];
        let bad = server.publish(two.with(moved));
        assert!(!server.converge(bad).await.reached);
        answers(two.fronts[1], &two.backends[0]).await;
        gate.cut();
        server.flip(two.good()).await;
        two.is_good().await;
    }
}

const NAMES: [&str; 2] = ["one", "two"];
