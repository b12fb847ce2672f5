//! Times to live.

use super::*;
use crate::{
    fixture::{assignment, opaque},
    node::{NodeDescription, NodeId},
    resource::ResourceType::{Endpoints, Listener, Runtime},
};

const TTL: Duration = Duration::from_secs(10);

fn minding(transport: Transport) -> Client {
    let terms = Terms { ttl: true, ..TERMS };
    let mut client = Client::new(transport);
    client.machine = Machine::new(transport, "server".into(), terms);
    client
}

fn mortal(kind: ResourceType, name: &str) -> Resource {
    opaque(kind, name, "1").with_ttl(TTL)
}

#[test]
fn x50_a_heartbeat_is_a_name_and_a_version_before_the_time_is_over() {
    for transport in [Transport::Delta, Transport::StateOfTheWorld] {
        let mut client = minding(transport);
        client.publish([mortal(Runtime, "a"), opaque(Runtime, "b", "1")]);
        let first = only(client.ask(Runtime, &["a", "b"]));
        assert!(first.ttl && !first.heartbeat);
        assert!(client.ack(&first).is_empty());
        for _ in 0..3 {
            let due = client.machine.deadline(client.now).unwrap();
            assert!(due <= client.now + TTL / 2);
            client.now = due;
            let beat = only(client.advance());
            assert!(beat.heartbeat && beat.ttl);
            assert_eq!(sent(&beat), ["a"]);
            assert_eq!(beat.resources[0].version(), mortal(Runtime, "a").version());
            // It changes nothing about what the client has.
            assert_eq!(client.state(Runtime), TypeState::Synced);
            assert_eq!(client.machine.synced_to(), Some(Sequence::from(1)));
            assert!(client.ack(&beat).is_empty());
        }
    }
}

#[test]
fn a_reconnecting_client_gets_heartbeats_for_its_ttl_resources() {
    for kind in [Runtime, Listener] {
        let mut client = minding(Transport::Delta);
        let resource = mortal(kind, "a");
        let version = resource.version().to_string();
        client.publish([resource]);
        let first = client.reconnect(kind, &["a"], &[("a", &version)]);
        assert!(first.is_empty());
        assert_eq!(client.state(kind), TypeState::Synced);
        client.now = client.machine.deadline(client.now).unwrap();
        let beat = only(client.advance());
        assert!(beat.heartbeat);
        assert_eq!(sent(&beat), ["a"]);
    }
    let mut old = minding(Transport::StateOfTheWorld);
    old.publish([mortal(Listener, "a")]);
    let first = only(old.ask(Listener, &[]));
    let mut client = minding(Transport::StateOfTheWorld);
    client.publish([mortal(Listener, "a")]);
    let back = client.return_with(Listener, &[], &first.version.to_string());
    assert!(back.is_empty());
    client.now = client.machine.deadline(client.now).unwrap();
    assert_eq!(sent(&only(client.advance())), ["a"]);
}

#[test]
fn a_heartbeat_renews_the_version_kept_after_a_nack() {
    let mut client = minding(Transport::Delta);
    client.publish([mortal(Runtime, "a")]);
    let first = client.ask(Runtime, &["a"]);
    client.settle(first);
    let bad = only(client.publish([opaque(Runtime, "a", "2").with_ttl(TTL)]));
    assert!(client.nack(&bad).is_empty());
    for _ in 0..2 {
        client.now = client.machine.deadline(client.now).unwrap();
        let beat = only(client.advance());
        assert!(beat.heartbeat);
        assert_eq!(beat.resources[0].version(), mortal(Runtime, "a").version());
        client.ack(&beat);
        assert!(matches!(client.state(Runtime), TypeState::Nacked { .. }));
    }
}

#[test]
fn x50_a_client_that_does_not_say_so_is_told_of_no_time_to_live() {
    let mut client = Client::delta();
    client.publish([mortal(Runtime, "a")]);
    let first = only(client.ask(Runtime, &["a"]));
    assert!(!first.ttl);
    client.ack(&first);
    assert_eq!(client.machine.deadline(client.now), None);
}

#[test]
fn x51_state_of_the_world_needs_both_features() {
    let node = |features: &[&str]| NodeDescription {
        id: NodeId::from("n"),
        cluster: String::new(),
        metadata: Default::default(),
        user_agent: "envoy".to_owned(),
        user_agent_version: String::new(),
        client_features: features.iter().map(|f| (*f).to_owned()).collect(),
    };
    let minds =
        |features: &[&str], transport| Terms::new(&node(features), transport, TERMS.bounds).ttl;
    let ttl = "xds.config.supports-resource-ttl";
    let wrapped = "xds.config.supports-resource-in-sotw";
    assert!(minds(&[ttl], Transport::Delta));
    assert!(!minds(&[ttl], Transport::StateOfTheWorld));
    assert!(!minds(&[wrapped], Transport::StateOfTheWorld));
    assert!(minds(&[wrapped, ttl], Transport::StateOfTheWorld));
    assert!(!minds(&[], Transport::Delta));
}

#[test]
fn a_nacked_heartbeat_rejects_no_content_and_only_one_is_in_flight() {
    let mut client = minding(Transport::Delta);
    client.publish([mortal(Runtime, "a")]);
    let first = client.ask(Runtime, &["a"]);
    client.settle(first);
    client.now += TTL / 2;
    let beat = only(client.advance());
    client.now += 4 * TTL;
    assert!(client.advance().is_empty());
    let next = only(client.nack(&beat));
    assert!(next.heartbeat);
    assert_eq!(client.state(Runtime), TypeState::Synced);
}

#[test]
fn content_that_changes_beside_a_heartbeat_follows_it() {
    let mut client = minding(Transport::Delta);
    let other = |port| [assignment("a", port).with_ttl(TTL)];
    client.publish(other(1));
    let first = client.ask(Endpoints, &["a"]);
    client.settle(first);
    client.now += TTL / 2;
    let beat = only(client.advance());
    assert!(client.publish(other(2)).is_empty());
    assert_eq!(client.machine.synced_to(), None);
    let changed = only(client.ack(&beat));
    assert!(!changed.heartbeat);
    client.ack(&changed);
    assert_eq!(client.machine.synced_to(), Some(Sequence::from(2)));
}

#[test]
fn listeners_of_state_of_the_world_are_renewed_as_a_full_state() {
    let mut client = minding(Transport::StateOfTheWorld);
    client.publish([mortal(Listener, "a"), opaque(Listener, "b", "1")]);
    let first = client.ask(Listener, &[]);
    client.settle(first);
    client.now += TTL / 2;
    let again = only(client.advance());
    assert!(!again.heartbeat && again.ttl);
    assert_eq!(sent(&again), ["a", "b"]);
    client.ack(&again);
    assert_eq!(client.machine.synced_to(), Some(Sequence::from(1)));
    assert!(client.machine.deadline(client.now).is_some());
}

#[test]
fn the_clients_of_grpc_never_ask_for_everything_by_naming_nothing() {
    let node = NodeDescription {
        id: NodeId::from("n"),
        cluster: String::new(),
        metadata: Default::default(),
        user_agent: "gRPC Go".to_owned(),
        user_agent_version: String::new(),
        client_features: Vec::new(),
    };
    for transport in [Transport::Delta, Transport::StateOfTheWorld] {
        let terms = Terms::new(&node, transport, TERMS.bounds);
        let mut client = Client::new(transport);
        client.machine = Machine::new(transport, "server".into(), terms);
        client.publish([opaque(Listener, "a", "1")]);
        let nothing = client.ask(Listener, &[]);
        assert!(nothing.iter().all(|response| response.resources.is_empty()));
        client.settle(nothing);
        assert!(client.publish([opaque(Listener, "a", "2")]).is_empty());
        let explicit = only(client.ask(Listener, &["*"]));
        assert_eq!(sent(&explicit), ["a"]);
    }
}
