use super::*;
use crate::{
    fixture::{assignment, eds_cluster, opaque},
    resource::ResourceType::{Cluster, Endpoints, Listener, Route, Runtime, Secret},
};

#[test]
fn t01_a_resubscribed_name_is_sent_again() {
    let mut client = Client::delta();
    client.publish([assignment("a", 1)]);
    let first = only(client.ask(Endpoints, &["a"]));
    assert!(client.ack(&first).is_empty());
    let again = only(client.ask(Endpoints, &["a"]));
    assert_eq!(sent(&again), ["a"]);
    assert_ne!(again.nonce, first.nonce);
}

#[test]
fn t02_a_second_star_sends_everything_again() {
    let mut client = Client::delta();
    client.publish([opaque(Listener, "a", "1"), opaque(Listener, "b", "1")]);
    let first = client.ask(Listener, &[]);
    client.settle(first);
    let again = only(client.ask(Listener, &["*"]));
    assert_eq!(sent(&again), ["a", "b"]);
}

#[test]
fn t03_a_name_in_both_lists_is_not_sent() {
    let mut client = Client::delta();
    client.publish([assignment("a", 1), assignment("b", 1)]);
    let first = client.ask(Endpoints, &["b"]);
    client.settle(first);
    let both = client.request(Endpoints, &["a"], &["a"], Reply::default());
    assert!(both.is_empty());
    assert!(
        client
            .publish([assignment("a", 2), assignment("b", 1)])
            .is_empty()
    );
}

#[test]
fn t04_x33_a_removed_resource_is_named_once_and_its_return_is_pushed() {
    let mut client = Client::delta();
    client.publish([opaque(Route, "a", "1")]);
    let first = client.ask(Route, &["a"]);
    client.settle(first);
    let gone = only(client.publish([]));
    assert_eq!(removed(&gone), ["a"]);
    assert!(client.ack(&gone).is_empty());
    assert!(client.publish([]).is_empty());
    let back = only(client.publish([opaque(Route, "a", "1")]));
    assert_eq!(sent(&back), ["a"]);
}

#[test]
fn t05_x32_a_missing_name_is_answered_once_and_remembered() {
    let mut client = Client::delta();
    client.publish([]);
    let missing = only(client.ask(Runtime, &["layer"]));
    assert_eq!(removed(&missing), ["layer"]);
    assert!(client.ack(&missing).is_empty());
    assert!(client.publish([]).is_empty());
    let created = only(client.publish([opaque(Runtime, "layer", "1")]));
    assert_eq!(sent(&created), ["layer"]);
}

#[test]
fn t06_x27_a_stale_nonce_still_changes_subscriptions() {
    let mut client = Client::delta();
    client.publish([opaque(Route, "a", "1"), opaque(Route, "b", "1")]);
    let first = client.ask(Route, &["a"]);
    client.settle(first);
    let stale = Reply {
        nonce: "another".to_owned(),
        error: None,
    };
    let added = only(client.request(Route, &["b"], &["a"], stale));
    assert_eq!(sent(&added), ["b"]);
    client.ack(&added);
    let changed = [opaque(Route, "a", "2"), opaque(Route, "b", "1")];
    assert!(client.publish(changed).is_empty());
}

#[test]
fn t07_x38_a_stale_ack_acknowledges_nothing() {
    let mut client = Client::delta();
    client.publish([assignment("a", 1)]);
    let first = only(client.ask(Endpoints, &["a"]));
    client.ack(&first);
    let second = only(client.publish([assignment("a", 2)]));
    assert!(client.ack(&first).is_empty());
    assert_eq!(client.machine.synced_to(), None);
    client.ack(&second);
    assert_eq!(client.machine.synced_to(), Some(Sequence::from(2)));
}

#[test]
fn x28_subscriptions_ride_on_an_ack_and_on_a_nack() {
    let mut client = Client::delta();
    client.publish(["a", "b", "c"].map(|name| opaque(Route, name, "1")));
    let first = only(client.ask(Route, &["a"]));
    let ack = Reply {
        nonce: first.nonce.as_ref().to_owned(),
        error: None,
    };
    let second = only(client.request(Route, &["b"], &[], ack));
    assert_eq!(sent(&second), ["b"]);
    let nack = Reply {
        nonce: second.nonce.as_ref().to_owned(),
        error: Some("no".into()),
    };
    let third = only(client.request(Route, &["c"], &[], nack));
    assert_eq!(sent(&third), ["c"]);
}

#[test]
fn x30_x31_unsubscribing_is_silent_except_beside_the_wildcard() {
    let mut client = Client::delta();
    client.publish([opaque(Listener, "a", "1")]);
    let first = client.ask(Listener, &["*", "a", "gone"]);
    client.settle(first);
    let covered = only(client.unsubscribe(Listener, &["a"]));
    assert_eq!(sent(&covered), ["a"]);
    client.ack(&covered);
    let unknown = only(client.unsubscribe(Listener, &["gone"]));
    assert_eq!(removed(&unknown), ["gone"]);
    client.ack(&unknown);
    assert!(client.unsubscribe(Listener, &["*"]).is_empty());
    assert!(client.publish([opaque(Listener, "a", "2")]).is_empty());
}

#[test]
fn x34_only_what_changed_is_sent() {
    let mut client = Client::delta();
    client.publish([opaque(Listener, "a", "1"), opaque(Listener, "b", "1")]);
    let first = client.ask(Listener, &[]);
    client.settle(first);
    let changed = only(client.publish([opaque(Listener, "a", "1"), opaque(Listener, "b", "2")]));
    assert_eq!(sent(&changed), ["b"]);
    assert_eq!(
        changed.resources[0].version(),
        opaque(Listener, "b", "2").version()
    );
}

#[test]
fn t16_x35_a_reconnect_gets_the_differences_alone() {
    let same = opaque(Listener, "same", "1");
    let version = same.version().to_string();
    let mut client = Client::delta();
    client.publish([same, opaque(Listener, "other", "2")]);
    let versions = [
        ("same", &*version),
        ("other", &*version),
        ("gone", &*version),
    ];
    let all = client.reconnect(Listener, &[], &versions);
    assert_eq!(story(&client.settle(all)), ["Listener +other -gone"]);
}

#[test]
fn x36_a_listed_and_subscribed_name_is_skipped_except_for_endpoints() {
    for kind in [Route, Secret, Runtime, Listener] {
        let resource = opaque(kind, "a", "1");
        let version = resource.version().to_string();
        let mut client = Client::delta();
        client.publish([resource]);
        assert!(
            client
                .reconnect(kind, &["a"], &[("a", &version)])
                .is_empty()
        );
    }
    let resource = assignment("a", 1);
    let version = resource.version().to_string();
    let mut client = Client::delta();
    client.publish([resource]);
    let sent_anyway = only(client.reconnect(Endpoints, &["a"], &[("a", &version)]));
    assert_eq!(sent(&sent_anyway), ["a"]);
}

#[test]
fn x37_initial_versions_count_in_the_first_request_alone() {
    let resource = opaque(Route, "b", "1");
    let version = resource.version().to_string();
    let mut client = Client::delta();
    client.publish([opaque(Route, "a", "1"), resource]);
    let first = client.ask(Route, &["a"]);
    client.settle(first);
    let second = only(client.reconnect(Route, &["b"], &[("b", &version)]));
    assert_eq!(sent(&second), ["b"]);
}

#[test]
fn t17_versions_and_nonces_of_another_server_are_served_as_new() {
    let mut client = Client::delta();
    client.publish([opaque(Listener, "a", "1")]);
    let request = DeltaRequest {
        initial_versions: HashMap::from([("a".to_owned(), "17".to_owned())]),
        reply: Reply {
            nonce: "elsewhere-9".to_owned(),
            error: None,
        },
        ..DeltaRequest::default()
    };
    client
        .machine
        .delta(Listener, &request, client.now)
        .unwrap();
    assert_eq!(sent(&only(client.advance())), ["a"]);
}

#[test]
fn t18_nonces_name_the_start_of_the_server_and_never_repeat_on_a_stream() {
    let mut client = Client::delta();
    client.publish([assignment("a", 1)]);
    let mut nonces = std::collections::BTreeSet::new();
    for _ in 0..4 {
        let response = only(client.ask(Endpoints, &["a"]));
        assert!(response.nonce.starts_with("server-1"));
        client.ack(&response);
        assert!(nonces.insert(response.nonce));
    }
}

#[test]
fn t19_x40_the_first_wildcard_is_answered_even_if_empty() {
    for names in [&[][..], &["*"]] {
        let mut client = Client::delta();
        client.publish([]);
        let empty = only(client.ask(Cluster, names));
        assert!(empty.resources.is_empty() && empty.removed.is_empty());
        assert!(!empty.nonce.is_empty());
        assert!(client.ack(&empty).is_empty());
    }
}

#[test]
fn x40_a_reconnect_that_has_everything_is_answered_too() {
    let resource = opaque(Listener, "a", "1");
    let version = resource.version().to_string();
    let mut client = Client::delta();
    client.publish([resource]);
    let empty = only(client.reconnect(Listener, &[], &[("a", &version)]));
    assert!(empty.resources.is_empty());
}

#[test]
fn t20_x47_zero_endpoints_go_out_as_an_empty_assignment() {
    let mut client = Client::delta();
    client.publish([eds_cluster("a", 1)]);
    let response = only(client.ask(Endpoints, &["a"]));
    assert_eq!(sent(&response), ["a"]);
}

#[test]
fn t24_x07_no_name_occurs_twice() {
    let mut client = Client::delta();
    client.publish([opaque(Listener, "a", "1"), opaque(Listener, "b", "1")]);
    let response = only(client.ask(Listener, &["*", "a", "a"]));
    assert_eq!(sent(&response), ["a", "b"]);
}

#[test]
fn nothing_is_said_before_there_is_a_snapshot() {
    let mut client = Client::delta();
    assert!(client.ask(Cluster, &[]).is_empty());
    let first = only(client.publish([eds_cluster("a", 1)]));
    assert_eq!(sent(&first), ["a"]);
}

#[test]
fn one_response_is_on_its_way_and_the_newest_content_follows_it() {
    let mut client = Client::delta();
    client.publish([assignment("a", 1)]);
    let first = only(client.ask(Endpoints, &["a"]));
    for port in 2..9 {
        assert!(client.publish([assignment("a", port)]).is_empty());
    }
    let newest = only(client.ack(&first));
    assert_eq!(newest.resources[0].version(), assignment("a", 8).version());
    assert!(client.ack(&newest).is_empty());
}

#[test]
fn content_that_returns_while_another_response_is_in_flight_is_sent_again() {
    let mut client = Client::delta();
    client.publish([assignment("a", 1)]);
    let first = client.ask(Endpoints, &["a"]);
    client.settle(first);
    let there = only(client.publish([assignment("a", 2)]));
    assert!(client.publish([assignment("a", 1)]).is_empty());
    let back = only(client.ack(&there));
    assert_eq!(back.resources[0].version(), assignment("a", 1).version());
}

#[test]
fn a_late_ack_of_a_resubscribed_name_is_followed_by_its_removal() {
    let mut client = Client::delta();
    client.publish([opaque(Cluster, "a", "1")]);
    let first = only(client.ask(Cluster, &["*"]));
    client.publish([]);
    client.unsubscribe(Cluster, &["*"]);
    client.ask(Cluster, &["*"]);
    let gone = only(client.ack(&first));
    assert_eq!(removed(&gone), ["a"]);
    assert_eq!(client.machine.synced_to(), None);
}
