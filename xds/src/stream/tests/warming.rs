//! What is sent because something that refers to it was sent.

use bytes::Bytes;
use envoy_types::pb::{
    envoy::{
        config::{
            core::v3::{ConfigSource, TransportSocket, transport_socket},
            listener::v3::{Filter, FilterChain, Listener as ListenerMessage, filter},
        },
        extensions::{
            filters::network::http_connection_manager::v3::{
                HttpConnectionManager, Rds, http_connection_manager::RouteSpecifier,
            },
            transport_sockets::tls::v3::{CommonTlsContext, DownstreamTlsContext, SdsSecretConfig},
        },
    },
    google::protobuf::Any,
};
use prost::{Message, Name};

use super::*;
use crate::{
    fixture::{assignment, eds_cluster, opaque},
    resource::ResourceType::{Cluster, Endpoints, Listener, Route, Secret},
};

const BOTH: [Transport; 2] = [Transport::Delta, Transport::StateOfTheWorld];

fn any<M: Name>(message: &M) -> Any {
    Any {
        type_url: M::type_url(),
        value: message.encode_to_vec(),
    }
}

/// A listener with the route configuration `r` and the certificate `s`.
fn listener(stat_prefix: &str) -> Resource {
    let manager = HttpConnectionManager {
        stat_prefix: stat_prefix.to_owned(),
        route_specifier: Some(RouteSpecifier::Rds(Rds {
            route_config_name: "r".to_owned(),
            ..Default::default()
        })),
        ..Default::default()
    };
    let context = DownstreamTlsContext {
        common_tls_context: Some(CommonTlsContext {
            tls_certificate_sds_secret_configs: vec![SdsSecretConfig {
                name: "s".to_owned(),
                sds_config: Some(ConfigSource::default()),
            }],
            ..Default::default()
        }),
        ..Default::default()
    };
    let message = ListenerMessage {
        filter_chains: vec![FilterChain {
            filters: vec![Filter {
                config_type: Some(filter::ConfigType::TypedConfig(any(&manager))),
                ..Default::default()
            }],
            transport_socket: Some(TransportSocket {
                config_type: Some(transport_socket::ConfigType::TypedConfig(any(&context))),
                ..Default::default()
            }),
            ..Default::default()
        }],
        ..Default::default()
    };
    Resource::new(Listener, "l", Bytes::from(message.encode_to_vec()))
}

fn behind(listener: Resource) -> [Resource; 3] {
    [listener, opaque(Route, "r", "1"), opaque(Secret, "s", "1")]
}

#[test]
fn x48_a_changed_listener_is_followed_by_its_routes_and_secrets() {
    for transport in BOTH {
        let mut client = Client::new(transport);
        client.publish(behind(listener("one")));
        for (kind, names) in [(Listener, &[][..]), (Route, &["r"]), (Secret, &["s"])] {
            let first = client.ask(kind, names);
            client.settle(first);
        }
        assert!(client.publish(behind(listener("one"))).is_empty());
        let changed = client.publish(behind(listener("two")));
        assert_eq!(story(&changed), ["Listener +l", "Secret +s", "Route +r"]);
    }
}

#[test]
fn x44_routes_and_secrets_do_not_wait_for_the_ack_of_their_listener() {
    for transport in BOTH {
        let mut client = Client::new(transport);
        client.publish(behind(listener("one")));
        let unanswered = only(client.ask(Listener, &[]));
        assert_eq!(sent(&only(client.ask(Route, &["r"]))), ["r"]);
        assert_eq!(sent(&only(client.ask(Secret, &["s"]))), ["s"]);
        assert_eq!(client.state(unanswered.kind), TypeState::Stale);
    }
}

#[test]
fn x45_sending_a_cluster_voids_what_is_known_of_its_endpoints() {
    for transport in BOTH {
        let mut client = Client::new(transport);
        let resources = |timeout_s| [eds_cluster("a", timeout_s), assignment("a", 1)];
        client.publish(resources(1));
        for (kind, names) in [(Cluster, &[][..]), (Endpoints, &["a"])] {
            let first = client.ask(kind, names);
            client.settle(first);
        }
        assert_eq!(client.state(Endpoints), TypeState::Synced);
        let changed = client.publish(resources(2));
        assert_eq!(story(&changed), ["Cluster +a", "Endpoints +a"]);
        assert_eq!(client.state(Endpoints), TypeState::Stale);
    }
}

#[test]
fn x49_endpoints_asked_for_before_clusters_come_again_behind_them() {
    for transport in BOTH {
        let mut client = Client::new(transport);
        client.publish([eds_cluster("a", 1), assignment("a", 1)]);
        // The answer to the early request is still on its way when the cluster is sent.
        let early = only(client.ask(Endpoints, &["a"]));
        let cluster = only(client.ask(Cluster, &[]));
        assert_eq!(cluster.kind, Cluster);
        let late = only(client.ack(&early));
        assert_eq!(story(&[late]), ["Endpoints +a"]);
    }
}
