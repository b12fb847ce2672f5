//! What holds for every variant of the protocol.

use std::collections::BTreeSet;

use super::*;
use crate::{
    fixture::{assignment, opaque},
    resource::ResourceType::{
        Cluster, Endpoints, Extension, Listener, Route, Runtime, ScopedRoute, Secret, VirtualHost,
    },
};

const BOTH: [Transport; 2] = [Transport::Delta, Transport::StateOfTheWorld];

#[test]
fn x03_an_answer_for_one_type_says_nothing_about_another() {
    for transport in BOTH {
        let mut client = Client::new(transport);
        client.publish([opaque(Listener, "a", "1"), opaque(Route, "a", "1")]);
        let listeners = only(client.ask(Listener, &["a"]));
        let routes = only(client.ask(Route, &["a"]));
        // One snapshot, so even one nonce: only the type tells them apart.
        assert_eq!(listeners.nonce, routes.nonce);
        assert!(client.nack(&listeners).is_empty());
        assert_eq!(client.state(Route), TypeState::Stale);
        assert!(client.ack(&routes).is_empty());
        assert_eq!(client.state(Route), TypeState::Synced);
        assert!(matches!(client.state(Listener), TypeState::Nacked { .. }));
    }
}

#[test]
fn x04_no_nonce_comes_twice_for_a_type_and_none_means_anything_elsewhere() {
    for transport in BOTH {
        let mut client = Client::new(transport);
        client.publish([assignment("a", 1), assignment("b", 1)]);
        let mut nonces = BTreeSet::new();
        for names in [&["a"][..], &["a", "b"], &["a"], &["a", "b"]] {
            for response in client.ask(Endpoints, names) {
                assert!(!response.nonce.is_empty());
                client.ack(&response);
                assert!(nonces.insert(response.nonce));
            }
        }
        assert!(nonces.len() >= 3);
        let mut elsewhere = Client::new(transport);
        elsewhere.publish([assignment("a", 1)]);
        let other = only(elsewhere.ask(Endpoints, &["a"]));
        let mut waiting = Client::new(transport);
        waiting.publish([]);
        waiting.publish([assignment("a", 1)]);
        let own = only(waiting.ask(Endpoints, &["a"]));
        assert_ne!(own.nonce, other.nonce);
        waiting.ack(&other);
        assert_eq!(waiting.state(Endpoints), TypeState::Stale);
    }
}

#[test]
fn x05_only_an_error_refuses_whatever_the_version_says() {
    let mut client = Client::sotw();
    client.publish([assignment("a", 1)]);
    let first = only(client.ask(Endpoints, &["a"]));
    let request = |error: Option<Arc<str>>| SotwRequest {
        names: vec!["a".to_owned()],
        version: "an older one".to_owned(),
        reply: Reply {
            nonce: first.nonce.as_ref().to_owned(),
            error,
        },
    };
    client
        .machine
        .sotw(Endpoints, &request(None), client.now)
        .unwrap();
    assert!(client.advance().is_empty());
    assert_eq!(client.state(Endpoints), TypeState::Synced);
    let mut other = Client::sotw();
    other.publish([assignment("a", 1)]);
    other.ask(Endpoints, &["a"]);
    other
        .machine
        .sotw(Endpoints, &request(Some("".into())), other.now)
        .unwrap();
    assert!(other.advance().is_empty());
    assert!(matches!(other.state(Endpoints), TypeState::Nacked { .. }));
}

#[test]
fn x06_what_the_client_holds_is_not_sent_again() {
    for transport in BOTH {
        let mut client = Client::new(transport);
        let resources = |b| [opaque(Route, "a", "1"), opaque(Route, "b", b)];
        client.publish(resources("1"));
        let first = client.ask(Route, &["a", "b"]);
        client.settle(first);
        assert!(client.publish(resources("1")).is_empty());
        let changed = only(client.publish(resources("2")));
        assert_eq!(sent(&changed), ["b"]);
    }
}

#[test]
fn x07_no_name_occurs_twice_however_often_it_is_asked_for() {
    for transport in BOTH {
        let mut client = Client::new(transport);
        client.publish([opaque(Listener, "a", "1"), opaque(Listener, "b", "1")]);
        let response = only(client.ask(Listener, &["a", "*", "a", "b", "a"]));
        assert_eq!(sent(&response), ["a", "b"]);
    }
}

#[test]
fn x09_a_name_that_does_not_exist_is_remembered_and_pushed_when_it_does() {
    for transport in BOTH {
        let mut client = Client::new(transport);
        client.publish([]);
        let nothing = client.ask(Route, &["born later"]);
        client.settle(nothing);
        let born = only(client.publish([opaque(Route, "born later", "1")]));
        assert_eq!(sent(&born), ["born later"]);
    }
}

#[test]
fn x10_nothing_is_sent_unasked() {
    for transport in BOTH {
        let mut client = Client::new(transport);
        let all = ResourceType::ALL.map(|kind| opaque(kind, "a", "1"));
        client.publish(all.into_iter().chain([opaque(Route, "b", "1")]));
        let only_one = only(client.ask(Route, &["b"]));
        assert_eq!(sent(&only_one), ["b"]);
        assert!(client.ack(&only_one).is_empty());
    }
}

#[test]
fn x52_a_response_is_cut_from_the_newest_snapshot_alone() {
    for transport in BOTH {
        let mut client = Client::new(transport);
        let resources = |version| [opaque(Route, "a", version), opaque(Route, "b", version)];
        client.publish(resources("1"));
        let first = only(client.ask(Route, &["a", "b"]));
        client.publish(resources("2"));
        client.publish(resources("3"));
        let newest = only(client.ack(&first));
        let expected = resources("3").map(|resource| resource.version());
        assert!(newest.resources.iter().map(Resource::version).eq(expected));
        assert_eq!(client.machine.synced_to(), None);
        client.ack(&newest);
        assert_eq!(client.machine.synced_to(), Some(Sequence::from(3)));
    }
}

#[test]
fn every_type_is_served_in_its_place_of_the_order() {
    for transport in BOTH {
        let mut client = Client::new(transport);
        client.publish([]);
        for kind in ResourceType::ALL {
            let nothing = client.ask(kind, &["a"]);
            client.settle(nothing);
        }
        let all = client.publish(ResourceType::ALL.map(|kind| opaque(kind, "a", "1")));
        let kinds: Vec<_> = client
            .settle(all)
            .iter()
            .map(|response| response.kind)
            .collect();
        let place = |kind| kinds.iter().position(|found| *found == kind).unwrap();
        assert_eq!(kinds.len(), ResourceType::ALL.len(), "{kinds:?}");
        let order = [
            Cluster,
            Endpoints,
            Extension,
            Listener,
            ScopedRoute,
            Route,
            VirtualHost,
        ];
        assert!(order.is_sorted_by_key(|kind| place(*kind)), "{kinds:?}");
        assert!(place(Secret) < kinds.len() && place(Runtime) < kinds.len());
    }
}

#[test]
fn a_type_without_resources_is_reported_synced_with_the_first_snapshot() {
    let mut client = Client::new(Transport::StateOfTheWorld);
    assert!(client.ask(Route, &["r"]).is_empty());
    assert_eq!(client.machine.changes().count(), 1);
    client.publish([]);
    let states: Vec<_> = client
        .machine
        .changes()
        .map(|status| status.state)
        .collect();
    assert_eq!(states, [TypeState::Synced]);
}

/// Envoy takes away what a response of this type leaves out.
#[test]
fn state_of_the_world_sends_scopes_as_a_full_state() {
    let mut client = Client::new(Transport::StateOfTheWorld);
    let scopes = |b: &str| [opaque(ScopedRoute, "a", "1"), opaque(ScopedRoute, "b", b)];
    client.publish(scopes("1"));
    let first = client.ask(ScopedRoute, &[]);
    client.settle(first);
    let changed = only(client.publish(scopes("2")));
    assert_eq!(sent(&changed), ["a", "b"]);
}

#[test]
fn virtual_hosts_are_asked_for_one_by_one() {
    let mut client = Client::delta();
    let hosts = ["r/a", "r/b", "r/c"].map(|name| opaque(VirtualHost, name, "1"));
    client.publish(hosts);
    for name in ["r/a", "r/c"] {
        let host = only(client.ask(VirtualHost, &[name]));
        assert_eq!(sent(&host), [name]);
        client.ack(&host);
    }
}

/// Envoy holds an application's request until it hears of the name.
#[test]
fn a_missing_host_is_declared_absent_to_a_waiting_client() {
    let mut client = Client::delta();
    client.publish([opaque(VirtualHost, "r/a", "1")]);
    let host = client.ask(VirtualHost, &["r/a"]);
    client.settle(host);
    for _ in 0..2 {
        let none = only(client.ask(VirtualHost, &["r/b"]));
        assert_eq!(*none.absent, ["r/b".into()]);
        assert!(none.resources.is_empty() && none.removed.is_empty());
        assert!(client.ack(&none).is_empty());
    }
    assert!(client.machine.synced_to().is_some());
    let gone = only(client.publish([opaque(VirtualHost, "r/b", "1")]));
    assert_eq!((sent(&gone), removed(&gone)), (vec!["r/b"], vec!["r/a"]));
    assert!(gone.absent.is_empty());
    // Asked for again before that is acknowledged, it may still be there.
    assert!(client.ask(VirtualHost, &["r/a"]).is_empty());
    let again = only(client.ack(&gone));
    assert_eq!(*again.absent, ["r/a".into()]);
}

#[test]
fn a_host_that_a_client_may_have_is_declared_removed() {
    let mut client = Client::delta();
    client.publish([opaque(VirtualHost, "r/a", "1")]);
    let host = only(client.ask(VirtualHost, &["r/a"]));
    client.ack(&host);
    let listed = DeltaRequest {
        subscribe: owned(&["r/a", "r/b"]),
        initial_versions: [("r/a".to_owned(), host.version.to_string())].into(),
        ..DeltaRequest::default()
    };
    let mut client = Client::delta();
    client.publish([]);
    client
        .machine
        .delta(VirtualHost, &listed, client.now)
        .unwrap();
    let answer = only(client.advance());
    assert_eq!(removed(&answer), ["r/a"]);
    assert_eq!(*answer.absent, ["r/b".into()]);
}

#[test]
fn a_type_that_is_not_served_is_logged_once_and_takes_bounded_memory() {
    let mut client = Client::delta();
    assert!(client.machine.unserved("type.googleapis.com/other"));
    assert!(!client.machine.unserved("type.googleapis.com/other"));
    assert!(!client.machine.unserved(&"x".repeat(10_000)));
    let told = (0..1000).filter(|n| client.machine.unserved(&n.to_string()));
    assert!(told.count() < 10);
}

#[test]
fn an_unanswered_response_lags_until_the_answer() {
    for transport in BOTH {
        let mut client = Client::new(transport);
        client.publish([assignment("a", 1)]);
        let began = client.now;
        let first = only(client.ask(Endpoints, &["a"]));
        let due = client.machine.deadline(client.now).unwrap();
        assert_eq!(due, began + TERMS.bounds.answer);
        client.now = due - Duration::from_millis(1);
        assert!(client.advance().is_empty());
        assert_eq!(client.state(Endpoints), TypeState::Stale);
        assert!(client.machine.changes().count() > 0);
        client.now = due;
        assert!(client.advance().is_empty());
        assert_eq!(client.state(Endpoints), TypeState::Lagging { since: began });
        assert_eq!(client.machine.changes().count(), 1);
        assert_eq!(client.machine.deadline(client.now), None);
        client.ack(&first);
        assert_eq!(client.state(Endpoints), TypeState::Synced);
    }
}
