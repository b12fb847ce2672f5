//! Resources that Envoy does not take.

use bytes::Bytes;
use envoy_types::pb::{
    envoy::config::{cluster::v3::Cluster, listener::v3::Listener},
    google::protobuf,
};
use pointsman_lab::ports::free_port;
use pointsman_xds::{Convergence, Outcome, Resource, ResourceType, TypeState};

use crate::{
    control_plane::ControlPlane,
    process::{BOTH, Envoy, Transport},
    resources::{cluster, listener},
    served_config::{ServedConfig, edited},
    traffic::{Backend, answers},
};

/// Two routes: one whose content will be bad, one that is good.
struct Pair {
    bad: ServedConfig,
    good: ServedConfig,
}

impl Pair {
    fn new(backend: &Backend) -> Self {
        let config = |name: &str| ServedConfig {
            cluster: name.to_owned(),
            listener: name.to_owned(),
            ..ServedConfig::new(free_port(), backend.port())
        };
        Self {
            bad: config("bad"),
            good: config("good"),
        }
    }

    fn resources(&self) -> Vec<Resource> {
        let mut resources = self.good.resources();
        resources.extend(self.bad.route());
        resources
    }
}

#[track_caller]
fn refusal(convergence: &Convergence) -> (ResourceType, Vec<String>, String) {
    assert!(!convergence.reached, "{convergence:?}");
    let Outcome::Nacked {
        kind,
        resources,
        message,
    } = &convergence.nodes[0].1
    else {
        panic!("{convergence:?}");
    };
    let names = resources.iter().map(ToString::to_string).collect();
    (*kind, names, message.to_string())
}

/// What the fleet's status says of a type.
fn state(server: &ControlPlane, kind: ResourceType) -> TypeState {
    let types = server.status().types;
    let status = types.into_iter().find(|status| status.kind == kind);
    status.unwrap().state
}

const NO_SUCH_PORT: u32 = 70_000;

#[tokio::test]
async fn t09_what_envoy_refuses_is_named_and_the_rest_gets_there() {
    for transport in BOTH {
        let (a, b) = (Backend::start('a').await, Backend::start('b').await);
        let mut pair = Pair::new(&a);
        let server = ControlPlane::start().await;
        server.publish(pair.resources());
        let _envoy = Envoy::start(server.port, transport).await;
        answers(pair.bad.front, &a).await;
        answers(pair.good.front, &a).await;

        pair.bad.backend = NO_SUCH_PORT;
        pair.good.backend = b.port();
        let sequence = server.publish(pair.resources());
        let (kind, names, message) = refusal(&server.converge(sequence).await);
        assert_eq!(kind, ResourceType::Endpoints);
        assert_eq!(names, ["bad"]);
        assert!(message.contains("65535"), "{message}");
        answers(pair.good.front, &b).await;
        answers(pair.bad.front, &a).await;

        pair.bad.backend = b.port();
        server.flip(pair.resources()).await;
        answers(pair.bad.front, &b).await;
    }
}

#[tokio::test]
async fn t08_what_was_refused_is_reported_and_not_sent_again_until_it_changes() {
    for transport in BOTH {
        let (a, b) = (Backend::start('a').await, Backend::start('b').await);
        let mut pair = Pair::new(&a);
        let server = ControlPlane::start().await;
        server.publish(pair.resources());
        let envoy = Envoy::start(server.port, transport).await;
        answers(pair.bad.front, &a).await;
        answers(pair.good.front, &a).await;

        pair.bad.backend = NO_SUCH_PORT;
        let sequence = server.publish(pair.resources());
        let (kind, names, _) = refusal(&server.converge(sequence).await);
        assert_eq!(
            (kind, &names[..]),
            (ResourceType::Endpoints, &["bad".to_owned()][..])
        );
        let refused = envoy.stats("cluster.bad.update_rejected").await;

        for backend in [&b, &a, &b, &a, &b] {
            pair.good.backend = backend.port();
            let sequence = server.publish(pair.resources());
            let (_, names, _) = refusal(&server.converge(sequence).await);
            assert_eq!(names, ["bad"]);
            answers(pair.good.front, backend).await;
            let TypeState::Nacked { message, resources } = state(&server, ResourceType::Endpoints)
            else {
                panic!("{:?}", server.status());
            };
            assert!(message.contains("65535"), "{message}");
            assert_eq!(*resources[0], *"bad");
        }
        assert_eq!(envoy.stats("cluster.bad.update_rejected").await, refused);

        pair.bad.backend = b.port();
        server.flip(pair.resources()).await;
        assert_eq!(state(&server, ResourceType::Endpoints), TypeState::Synced);
        answers(pair.bad.front, &b).await;
    }
}

/// Delta names the one that is bad. State of the world sends clusters and listeners whole, so
/// there the whole type is refused.
#[tokio::test]
async fn bad_clusters_and_listeners_are_nacked_with_envoys_message() {
    let negative = |cluster: &mut Cluster| {
        cluster.connect_timeout = Some(protobuf::Duration {
            seconds: -1,
            nanos: 0,
        });
    };
    let nowhere = |listener: &mut Listener| listener.address = None;
    let second = std::time::Duration::from_secs(1);
    let bad_ones = [
        (edited(&cluster("worse", second), negative), "duration"),
        (edited(&listener("worse", 1, "db"), nowhere), "address"),
        (
            Resource::new(
                ResourceType::Listener,
                "worse",
                Bytes::from_static(&[0xff; 9]),
            ),
            "",
        ),
    ];
    for transport in BOTH {
        let (a, b) = (Backend::start('a').await, Backend::start('b').await);
        let mut config = ServedConfig::new(free_port(), a.port());
        let (server, _envoy) = config.served(&a, transport).await;
        for (bad, word) in &bad_ones {
            let mut spoilt = config.resources();
            spoilt.push(bad.clone());
            let sequence = server.publish(spoilt);
            let (kind, names, message) = refusal(&server.converge(sequence).await);
            assert_eq!(kind, bad.kind());
            match transport {
                Transport::Delta => assert_eq!(names, ["worse"]),
                Transport::StateOfTheWorld => assert!(names.is_empty(), "{names:?}"),
            }
            assert!(message.to_lowercase().contains(word), "{message}");

            let backend = if config.backend == a.port() { &b } else { &a };
            config.backend = backend.port();
            server.flip(config.resources()).await;
            answers(config.front, backend).await;
        }
    }
}
