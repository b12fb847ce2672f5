//! Delta and state of the world: how requests change what is subscribed, on the machine.

use super::*;
use crate::{
    fixture::{assignment, opaque},
    resource::ResourceType::{Cluster, Endpoints, Listener, Route},
};

#[test]
fn x15_of_several_requests_only_the_latest_is_answered() {
    let mut client = Client::sotw();
    client.publish(["a", "b", "c"].map(|name| assignment(name, 1)));
    let request = |names: &[&str]| SotwRequest {
        names: owned(names),
        ..SotwRequest::default()
    };
    for names in [&["a"][..], &["a", "b"], &["c"]] {
        client
            .machine
            .sotw(Endpoints, &request(names), client.now)
            .unwrap();
    }
    let answer = only(client.advance());
    assert_eq!(sent(&answer), ["c"]);
}

#[test]
fn x18_no_names_from_the_beginning_ask_for_everything() {
    let mut client = Client::sotw();
    client.publish([opaque(Cluster, "a", "1"), opaque(Cluster, "b", "1")]);
    let all = only(client.ask(Cluster, &[]));
    assert_eq!(sent(&all), ["a", "b"]);
    client.ack(&all);
    let more = only(client.publish(["a", "b", "c"].map(|name| opaque(Cluster, name, "1"))));
    assert_eq!(sent(&more), ["a", "b", "c"]);
}

#[test]
fn x19_no_names_after_any_name_ask_for_nothing() {
    for first in [&["a"][..], &["*"]] {
        let mut client = Client::sotw();
        client.publish([opaque(Listener, "a", "1")]);
        let named = client.ask(Listener, first);
        client.settle(named);
        let left = client.ask(Listener, &[]);
        client.settle(left);
        assert!(client.publish([opaque(Listener, "a", "2")]).is_empty());
    }
}

#[test]
fn x22_an_added_name_is_sent_even_if_it_was_sent_before() {
    for kind in [Endpoints, Route, Listener] {
        let mut client = Client::sotw();
        client.publish([opaque(kind, "a", "1"), opaque(kind, "b", "1")]);
        let both = client.ask(kind, &["a", "b"]);
        client.settle(both);
        let fewer = client.ask(kind, &["a"]);
        client.settle(fewer);
        let again = only(client.ask(kind, &["a", "b"]));
        assert!(sent(&again).contains(&"b"));
    }
}

#[test]
fn t22_endpoints_of_state_of_the_world_come_as_far_as_they_changed() {
    let mut client = Client::sotw();
    client.publish(["a", "b", "c"].map(|name| assignment(name, 1)));
    let first = client.ask(Endpoints, &["a", "b", "c"]);
    client.settle(first);
    let changed = client.publish([assignment("a", 1), assignment("b", 2), assignment("c", 1)]);
    assert_eq!(sent(&only(changed)), ["b"]);
}

#[test]
fn t23_an_ack_gets_no_response() {
    for transport in [Transport::Delta, Transport::StateOfTheWorld] {
        let mut client = Client::new(transport);
        client.publish([opaque(Listener, "a", "1"), opaque(Route, "a", "1")]);
        for (kind, names) in [(Listener, &[][..]), (Route, &["a"])] {
            let first = only(client.ask(kind, names));
            for _ in 0..3 {
                assert!(client.ack(&first).is_empty());
            }
        }
    }
}

#[test]
fn x25_every_name_is_answered_whatever_the_client_has() {
    let mut client = Client::delta();
    client.publish([opaque(Route, "a", "1"), opaque(Route, "b", "1")]);
    let first = client.ask(Route, &["a", "b"]);
    client.settle(first);
    let again = only(client.ask(Route, &["b", "missing", "a"]));
    assert_eq!(sent(&again), ["a", "b"]);
    assert_eq!(removed(&again), ["missing"]);
}

#[test]
fn x27_an_unknown_nonce_takes_no_subscription_away() {
    let mut client = Client::delta();
    client.publish([opaque(Route, "a", "1"), opaque(Route, "b", "1")]);
    let waiting = only(client.ask(Route, &["a"]));
    for error in [None, Some("no".into())] {
        let stale = Reply {
            nonce: "of another server".to_owned(),
            error,
        };
        assert!(client.request(Route, &["b"], &[], stale).is_empty());
    }
    let added = only(client.ack(&waiting));
    assert_eq!(sent(&added), ["b"]);
}

#[test]
fn x31_beside_the_wildcard_an_unsubscribed_name_is_answered() {
    let mut client = Client::delta();
    client.publish([opaque(Listener, "a", "1")]);
    let first = client.ask(Listener, &["*", "a", "unknown"]);
    client.settle(first);
    let answer = only(client.unsubscribe(Listener, &["a", "unknown"]));
    assert_eq!(
        (sent(&answer), removed(&answer)),
        (vec!["a"], vec!["unknown"])
    );
}

#[test]
fn x32_a_name_that_does_not_exist_is_answered_as_removed() {
    let mut client = Client::delta();
    client.publish([opaque(Route, "a", "1")]);
    let answer = only(client.ask(Route, &["a", "b", "c"]));
    assert_eq!(
        (sent(&answer), removed(&answer)),
        (vec!["a"], vec!["b", "c"])
    );
    assert!(client.ack(&answer).is_empty());
}

#[test]
fn x33_a_deleted_resource_is_named_once_and_stays_subscribed() {
    let mut client = Client::delta();
    client.publish([opaque(Listener, "a", "1"), opaque(Listener, "b", "1")]);
    let first = client.ask(Listener, &[]);
    client.settle(first);
    let gone = only(client.publish([opaque(Listener, "a", "1")]));
    assert_eq!((sent(&gone), removed(&gone)), (vec![], vec!["b"]));
    assert!(client.ack(&gone).is_empty());
    assert!(client.publish([opaque(Listener, "a", "1")]).is_empty());
    let back = only(client.publish([opaque(Listener, "a", "1"), opaque(Listener, "b", "1")]));
    assert_eq!(sent(&back), ["b"]);
}

#[test]
fn x35_initial_versions_leave_the_differences() {
    let resources = || ["same", "other"].map(|name| opaque(Route, name, name));
    let mut client = Client::delta();
    client.publish(resources());
    let same = resources()[0].version().to_string();
    let listed = [("same", &*same), ("other", &*same), ("gone", &*same)];
    let answers = client.reconnect(Route, &["same", "other", "gone"], &listed);
    assert_eq!(
        story(&client.settle(answers)),
        ["RouteConfiguration +other -gone".replace("RouteConfiguration", "Route")]
    );
}

#[test]
fn x38_an_ack_makes_known_what_its_response_held_and_a_nack_nothing() {
    let mut client = Client::delta();
    client.publish([opaque(Route, "a", "1"), opaque(Route, "b", "1")]);
    let a = only(client.ask(Route, &["a"]));
    assert!(client.ask(Route, &["b"]).is_empty());
    let b = only(client.ack(&a));
    assert_eq!(sent(&b), ["b"]);
    assert!(client.nack(&b).is_empty());
    // Of "a" the client has version 1, of "b" nothing.
    let old = [opaque(Route, "a", "1"), opaque(Route, "b", "2")];
    assert_eq!(sent(&only(client.publish(old))), ["b"]);
}

#[test]
fn x39_the_system_version_is_informative_only() {
    let mut client = Client::delta();
    client.publish([opaque(Route, "a", "1"), opaque(Route, "b", "1")]);
    let a = only(client.ask(Route, &["a"]));
    client.ack(&a);
    let b = only(client.ask(Route, &["b"]));
    assert_eq!(a.version, b.version);
    assert_eq!(sent(&b), ["b"]);
}

#[test]
fn a_first_request_that_only_unsubscribes_asks_for_everything() {
    let mut client = Client::delta();
    client.publish([opaque(Listener, "a", "1"), opaque(Listener, "b", "1")]);
    let all = only(client.unsubscribe(Listener, &["a"]));
    assert_eq!(sent(&all), ["a", "b"]);
    let mut nothing = Client::delta();
    nothing.publish([opaque(Listener, "a", "1")]);
    assert!(nothing.unsubscribe(Listener, &["*"]).is_empty());
}
