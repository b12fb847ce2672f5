use super::*;
use crate::{
    fixture::{assignment, eds_cluster, opaque},
    resource::ResourceType::{Cluster, Endpoints, Listener, Runtime},
};

#[test]
fn a_client_is_synced_without_a_send_when_nothing_that_it_wants_changed() {
    let mut client = Client::delta();
    client.publish([assignment("a", 1), assignment("b", 1)]);
    let first = client.ask(Endpoints, &["a"]);
    client.settle(first);
    assert!(
        client
            .publish([assignment("a", 1), assignment("b", 2)])
            .is_empty()
    );
    assert_eq!(client.machine.synced_to(), Some(Sequence::from(2)));
}

#[test]
fn a_flip_there_and_back_converges() {
    let mut client = Client::delta();
    client.publish([assignment("a", 1)]);
    let first = client.ask(Endpoints, &["a"]);
    client.settle(first);
    let there = client.publish([assignment("a", 2)]);
    client.publish([assignment("a", 1)]);
    client.settle(there);
    assert_eq!(client.machine.synced_to(), Some(Sequence::from(3)));
}

#[test]
fn a_reconnected_client_is_not_synced_before_it_has_its_endpoints() {
    let cluster = eds_cluster("a", 1);
    let version = cluster.version().to_string();
    let mut client = Client::delta();
    client.publish([cluster, assignment("a", 2)]);
    let clusters = client.reconnect(Cluster, &[], &[("a", &version)]);
    client.settle(clusters);
    assert_eq!(client.machine.synced_to(), None);
    let endpoints = only(client.reconnect(Endpoints, &["a"], &[]));
    assert_eq!(client.machine.synced_to(), None);
    client.ack(&endpoints);
    assert_eq!(client.machine.synced_to(), Some(Sequence::from(1)));
}

#[test]
fn a_newer_body_of_the_same_version_is_not_sent_and_goes_to_whoever_asks_anew() {
    let held = |left: &str| {
        let body = bytes::Bytes::copy_from_slice(left.as_bytes());
        Resource::with_version_of(Endpoints, "a", body, b"held until noon")
    };
    let mut client = Client::delta();
    client.publish([held("30 s")]);
    let first = client.ask(Endpoints, &["a"]);
    client.settle(first);
    assert!(client.publish([held("20 s")]).is_empty());
    assert_eq!(client.machine.synced_to(), Some(Sequence::from(2)));
    let anew = only(client.ask(Endpoints, &["a"]));
    assert_eq!(&anew.resources[0].body()[..], b"20 s");
}

#[test]
fn types_are_told_when_they_may_have_changed_and_once() {
    let mut client = Client::delta();
    client.publish([opaque(Listener, "a", "1")]);
    let first = only(client.ask(Listener, &[]));
    let told: Vec<_> = client.machine.changes().collect();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].state, TypeState::Stale);
    assert_eq!(client.machine.changes().count(), 0);
    client.now += Duration::from_millis(3);
    client.ack(&first);
    let told: Vec<_> = client.machine.changes().collect();
    assert_eq!(told[0].state, TypeState::Synced);
    let acknowledged = told[0].acknowledged.as_ref().unwrap();
    assert_eq!(acknowledged.after, Duration::from_millis(3));
}

#[test]
fn a_reconnected_client_is_not_synced_by_its_runtime_layer() {
    let layer = opaque(Runtime, "layer", "1");
    let version = layer.version().to_string();
    let mut client = Client::delta();
    client.publish([layer, eds_cluster("a", 1), assignment("a", 2)]);
    let nothing = client.reconnect(Runtime, &["layer"], &[("layer", &version)]);
    assert!(nothing.is_empty());
    assert_eq!(client.state(Runtime), TypeState::Synced);
    assert_eq!(client.machine.synced_to(), None);
    let endpoints = only(client.reconnect(Endpoints, &["a"], &[]));
    client.ack(&endpoints);
    assert_eq!(client.machine.synced_to(), Some(Sequence::from(1)));
}

#[test]
fn a_proxy_is_not_synced_before_it_has_asked_for_its_listeners() {
    let cluster = opaque(Cluster, "a", "");
    let version = cluster.version().to_string();
    let listener = opaque(Listener, "front", "1");
    let mut client = Client::delta();
    client.publish([cluster, listener.clone()]);
    let clusters = client.reconnect(Cluster, &[], &[("a", &version)]);
    client.settle(clusters);
    assert_eq!(client.state(Cluster), TypeState::Synced);
    assert_eq!(client.machine.synced_to(), None);
    let version = listener.version().to_string();
    let listeners = client.reconnect(Listener, &[], &[("front", &version)]);
    client.settle(listeners);
    assert_eq!(client.machine.synced_to(), Some(Sequence::from(1)));
}

#[test]
fn a_nack_of_older_content_does_not_apply_to_newer_content() {
    let mut client = Client::sotw();
    let resources = |port, listener| {
        [
            eds_cluster("a", 1),
            assignment("a", port),
            opaque(Listener, "front", listener),
        ]
    };
    client.publish(resources(1, "1"));
    for (kind, names) in [(Cluster, &[][..]), (Endpoints, &["a"]), (Listener, &[])] {
        let first = client.ask(kind, names);
        client.settle(first);
    }
    let bad = only(client.publish(resources(1, "bad")));
    client.nack(&bad);
    assert!(matches!(client.state(Listener), TypeState::Nacked { .. }));
    let endpoints = only(client.publish(resources(2, "2")));
    assert_eq!(endpoints.kind, Endpoints);
    assert_eq!(client.state(Listener), TypeState::Stale);
    let listeners = only(client.ack(&endpoints));
    client.ack(&listeners);
    assert_eq!(client.state(Listener), TypeState::Synced);
}

#[test]
fn a_stream_for_one_type_is_synced_by_that_type() {
    for kind in [Cluster, Runtime] {
        let mut client = Client::delta();
        let terms = Terms {
            alone: true,
            ..TERMS
        };
        client.machine = Machine::new(Transport::Delta, "server".into(), terms);
        client.publish([
            eds_cluster("a", 1),
            opaque(Listener, "front", "1"),
            opaque(Runtime, "layer", "1"),
        ]);
        let first = client.ask(kind, &["a", "layer"]);
        client.settle(first);
        assert_eq!(client.machine.synced_to(), Some(Sequence::from(1)));
    }
}
