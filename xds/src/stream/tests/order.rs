use super::*;
use crate::{
    fixture::{assignment, eds_cluster, opaque},
    resource::ResourceType::{Cluster, Endpoints, Listener, Route},
    stream::order::PATIENCE,
};

/// A client that has everything of one cluster behind one listener and one route.
fn running(transport: Transport) -> Client {
    let mut client = Client::new(transport);
    client.publish(resources("a", 1));
    for (kind, names) in [
        (Cluster, &[][..]),
        (Endpoints, &["a"]),
        (Listener, &[]),
        (Route, &["r"]),
    ] {
        let responses = client.ask(kind, names);
        client.settle(responses);
    }
    client
}

fn resources(cluster: &str, timeout_s: i64) -> [Resource; 4] {
    [
        eds_cluster(cluster, timeout_s),
        assignment(cluster, 1),
        opaque(Listener, "l", cluster),
        opaque(Route, "r", cluster),
    ]
}

#[test]
fn t11_x43_every_changed_cluster_is_followed_by_its_unchanged_endpoints() {
    for transport in [Transport::Delta, Transport::StateOfTheWorld] {
        let mut client = running(transport);
        let changed = client.publish(resources("a", 2));
        assert_eq!(story(&changed), ["Cluster +a", "Endpoints +a"]);
    }
}

#[test]
fn t12_x44_endpoints_do_not_wait_for_the_ack_of_their_cluster() {
    let mut client = running(Transport::Delta);
    let changed = client.publish(resources("a", 2));
    let (cluster, endpoints) = (&changed[0], &changed[1]);
    assert!(client.ack(endpoints).is_empty());
    assert!(client.ack(cluster).is_empty());
    assert_eq!(client.machine.synced_to(), Some(Sequence::from(2)));
}

#[test]
fn t13_x45_a_late_ack_of_endpoints_sent_before_the_cluster_says_nothing() {
    for transport in [Transport::Delta, Transport::StateOfTheWorld] {
        let mut client = running(transport);
        let mut moved = resources("a", 1);
        moved[1] = assignment("a", 2);
        let endpoints = only(client.publish(moved.clone()));
        moved[0] = eds_cluster("a", 2);
        let cluster = only(client.publish(moved));
        assert_eq!(cluster.kind, Cluster);
        let again = only(client.ack(&endpoints));
        assert_eq!(story(&[again]), ["Endpoints +a"]);
    }
}

#[test]
fn t14_x49_endpoints_asked_before_clusters_are_sent_again_behind_them() {
    for transport in [Transport::Delta, Transport::StateOfTheWorld] {
        let mut client = Client::new(transport);
        client.publish(resources("a", 1));
        let early = only(client.ask(Endpoints, &["a"]));
        client.ack(&early);
        let both = client.ask(Cluster, &[]);
        assert_eq!(story(&both), ["Cluster +a", "Endpoints +a"]);
    }
}

#[test]
fn t15_a_warming_cluster_that_vanished_meanwhile_is_answered() {
    let mut client = Client::delta();
    client.publish([]);
    let version = eds_cluster("gone", 1).version().to_string();
    let clusters = client.reconnect(Cluster, &[], &[("gone", &version)]);
    assert_eq!(story(&client.settle(clusters)), ["Cluster -gone"]);
    let endpoints = client.reconnect(Endpoints, &["gone"], &[]);
    assert_eq!(story(&client.settle(endpoints)), ["Endpoints -gone"]);
}

#[test]
fn x41_x42_x46_make_before_break() {
    let mut client = running(Transport::Delta);
    let mut told = client.publish(resources("b", 1));
    assert_eq!(story(&told), ["Cluster +b"]);
    // As Envoy does: it asks for the endpoints of the cluster that it has received.
    told.extend(client.ask(Endpoints, &["b"]));
    let told = client.settle(told);
    assert_eq!(
        story(&told),
        [
            "Cluster +b",
            "Endpoints +b",
            "Listener +l",
            "Route +r",
            "Cluster -a",
            "Endpoints -a",
        ]
    );
}

#[test]
fn a_listener_waits_for_its_cluster_and_not_for_ever() {
    let mut client = running(Transport::Delta);
    let cluster = only(client.publish(resources("b", 1)));
    assert_eq!(cluster.kind, Cluster);
    let deadline = client.machine.deadline(client.now).unwrap();
    assert_eq!(deadline, client.now + PATIENCE);
    client.now = deadline;
    let past = client.advance();
    assert_eq!(story(&past), ["Listener +l", "Route +r"]);
    for response in &past {
        assert!(client.ack(response).is_empty());
    }
    // A resource that may be in use is removed once the client has acknowledged its replacement.
    client.now += 2 * PATIENCE;
    assert!(client.advance().is_empty());
    let last = client.ack(&cluster);
    assert_eq!(story(&client.settle(last)), ["Cluster -a", "Endpoints -a"]);
}

#[test]
fn x46_no_patience_lets_a_listener_pass_a_cluster_that_is_not_sent() {
    let mut client = running(Transport::Delta);
    let first = only(client.publish(resources("b", 1)));
    assert!(client.publish(resources("c", 1)).is_empty());
    client.now += 2 * PATIENCE;
    assert!(client.advance().is_empty());
    let second = only(client.ack(&first));
    assert_eq!(story(&[second]), ["Cluster +c"]);
    client.now += PATIENCE;
    assert_eq!(story(&client.advance()), ["Listener +l", "Route +r"]);
}

#[test]
fn x52_a_flip_touches_endpoints_alone() {
    for transport in [Transport::Delta, Transport::StateOfTheWorld] {
        let mut client = running(transport);
        let mut flipped = resources("a", 1);
        flipped[1] = assignment("a", 2);
        let flip = only(client.publish(flipped));
        assert_eq!(flip.kind, Endpoints);
        assert!(client.ack(&flip).is_empty());
        assert_eq!(client.machine.synced_to(), Some(Sequence::from(2)));
        assert_eq!(client.machine.deadline(client.now), None);
    }
}
