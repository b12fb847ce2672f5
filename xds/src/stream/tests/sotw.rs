use super::*;
use crate::{
    fixture::{assignment, eds_cluster, opaque},
    resource::ResourceType::{Cluster, Endpoints, Listener, Route},
};

#[test]
fn x11_the_version_changes_with_any_resource() {
    let mut client = Client::sotw();
    client.publish([opaque(Listener, "a", "1"), opaque(Listener, "b", "1")]);
    let first = only(client.ask(Listener, &[]));
    client.ack(&first);
    let second = only(client.publish([opaque(Listener, "a", "1"), opaque(Listener, "b", "2")]));
    assert_ne!(first.version, second.version);
}

#[test]
fn x12_t23_an_ack_gets_no_response() {
    let mut client = Client::sotw();
    client.publish([opaque(Listener, "a", "1")]);
    let first = only(client.ask(Listener, &[]));
    assert!(client.ack(&first).is_empty());
    assert!(client.ack(&first).is_empty());
}

#[test]
fn x13_a_stale_request_gets_no_response_and_its_names_come_again_with_the_ack() {
    let mut client = Client::sotw();
    client.publish([opaque(Route, "a", "1"), opaque(Route, "b", "1")]);
    let first = only(client.ask(Route, &["a"]));
    client.ack(&first);
    let second = only(client.publish([opaque(Route, "a", "2"), opaque(Route, "b", "1")]));
    let stale = Reply {
        nonce: first.nonce.as_ref().to_owned(),
        error: None,
    };
    assert!(client.request(Route, &["a", "b"], &[], stale).is_empty());
    let added = only(client.ack(&second));
    assert_eq!(sent(&added), ["b"]);
}

#[test]
fn x14_t17_the_first_request_is_initial_whatever_nonce_it_brings() {
    let mut client = Client::sotw();
    client.publish([opaque(Listener, "a", "1")]);
    let elsewhere = Reply {
        nonce: "elsewhere-4".to_owned(),
        error: None,
    };
    let first = only(client.request(Listener, &[], &[], elsewhere));
    assert_eq!(sent(&first), ["a"]);
}

#[test]
fn a_wildcard_client_that_comes_back_with_the_version_of_everything_is_sent_nothing() {
    let resources = |content| [opaque(Listener, "a", content), opaque(Listener, "b", "1")];
    let mut former = Client::sotw();
    former.publish(resources("1"));
    let version = only(former.ask(Listener, &[])).version.to_string();

    let mut client = Client::sotw();
    client.publish(resources("1"));
    assert!(client.return_with(Listener, &[], &version).is_empty());
    assert_eq!(client.machine.synced_to(), Some(Sequence::from(1)));
    let changed = only(client.publish(resources("2")));
    assert_eq!(sent(&changed), ["a", "b"]);

    let mut late = Client::sotw();
    late.publish(resources("2"));
    assert_eq!(
        sent(&only(late.return_with(Listener, &[], &version))),
        ["a", "b"]
    );
}

#[test]
fn x14_a_version_says_nothing_of_named_resources() {
    for kind in [Endpoints, Listener, Route] {
        let mut client = Client::sotw();
        client.publish([opaque(kind, "a", "1")]);
        let version = only(client.ask(kind, &["a"])).version.to_string();
        let mut client = Client::sotw();
        client.publish([opaque(kind, "a", "1")]);
        assert_eq!(
            sent(&only(client.return_with(kind, &["a"], &version))),
            ["a"]
        );
    }
}

#[test]
fn x16_t22_listeners_and_clusters_are_complete_and_endpoints_are_what_changed() {
    let mut client = Client::sotw();
    let before = |b| {
        [
            opaque(Listener, "a", "1"),
            opaque(Listener, "b", b),
            assignment("a", 1),
            assignment("b", if b == "1" { 1 } else { 2 }),
        ]
    };
    client.publish(before("1"));
    let listeners = client.ask(Listener, &[]);
    client.settle(listeners);
    let endpoints = client.ask(Endpoints, &["a", "b"]);
    client.settle(endpoints);
    let changed = client.publish(before("2"));
    let changed = client.settle(changed);
    assert_eq!(story(&changed), ["Endpoints +b", "Listener +a +b"]);
}

#[test]
fn x16_what_is_absent_is_deleted_and_an_empty_response_deletes_all() {
    let mut client = Client::sotw();
    client.publish([opaque(Listener, "a", "1"), opaque(Listener, "b", "1")]);
    let first = client.ask(Listener, &[]);
    client.settle(first);
    let one = only(client.publish([opaque(Listener, "a", "1")]));
    assert_eq!(sent(&one), ["a"]);
    client.ack(&one);
    let none = only(client.publish([]));
    assert!(none.resources.is_empty());
    assert!(client.ack(&none).is_empty());
}

#[test]
fn x17_a_vanished_assignment_is_not_mentioned_and_its_return_is() {
    let mut client = Client::sotw();
    client.publish([assignment("a", 1), assignment("b", 1)]);
    let first = client.ask(Endpoints, &["a", "b"]);
    client.settle(first);
    assert!(client.publish([assignment("a", 1)]).is_empty());
    let back = only(client.publish([assignment("a", 1), assignment("b", 1)]));
    assert_eq!(sent(&back), ["b"]);
}

#[test]
fn t19_x40_the_first_wildcard_is_answered_even_if_empty() {
    let mut client = Client::sotw();
    client.publish([]);
    let empty = only(client.ask(Cluster, &[]));
    assert!(empty.resources.is_empty());
    assert!(client.ack(&empty).is_empty());
}

#[test]
fn t21_a_request_for_a_part_and_for_something_missing_is_answered() {
    let mut client = Client::sotw();
    client.publish(["a", "b", "c"].map(|name| assignment(name, 1)));
    let part = only(client.ask(Endpoints, &["a", "missing"]));
    assert_eq!(sent(&part), ["a"]);
    client.ack(&part);
    let born = only(client.publish(["a", "b", "c", "missing"].map(|name| assignment(name, 1))));
    assert_eq!(sent(&born), ["missing"]);
}

#[test]
fn x21_x22_a_dropped_name_is_silent_and_added_again_it_is_sent() {
    let mut client = Client::sotw();
    client.publish([assignment("a", 1), assignment("b", 1)]);
    let first = client.ask(Endpoints, &["a", "b"]);
    client.settle(first);
    assert!(client.ask(Endpoints, &["b"]).is_empty());
    assert!(
        client
            .publish([assignment("a", 2), assignment("b", 1)])
            .is_empty()
    );
    let again = only(client.ask(Endpoints, &["a", "b"]));
    assert_eq!(sent(&again), ["a"]);
}

#[test]
fn a_cluster_leaves_only_after_the_listeners_that_may_use_it() {
    let mut client = Client::sotw();
    client.publish([eds_cluster("old", 1), opaque(Listener, "l", "uses old")]);
    let first = client.ask(Cluster, &[]);
    client.settle(first);
    let first = client.ask(Listener, &[]);
    client.settle(first);
    let swap = client.publish([eds_cluster("new", 1), opaque(Listener, "l", "uses new")]);
    assert_eq!(
        story(&client.settle(swap)),
        ["Cluster +new +old", "Listener +l", "Cluster +new"]
    );
}
