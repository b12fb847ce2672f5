//! What one client may cost, on the machine.

use super::*;
use crate::{
    fixture::opaque,
    resource::ResourceType::{Endpoints, Listener, Route},
};

fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|number| number.to_string()).collect()
}

fn with_versions(names: &[String]) -> HashMap<String, String> {
    let versions = names.iter().map(|name| (name.clone(), String::new()));
    versions.collect()
}

fn ask(client: &mut Client, request: &DeltaRequest) -> Result<(), Violation> {
    client.machine.delta(Route, request, client.now)
}

fn subscribing(names: &[String]) -> DeltaRequest {
    DeltaRequest {
        subscribe: names.to_vec(),
        ..DeltaRequest::default()
    }
}

#[test]
fn too_many_names_end_the_stream() {
    let mut client = Client::delta();
    client.publish([]);
    assert!(ask(&mut client, &subscribing(&numbers(TERMS.bounds.names))).is_ok());
    let violation = ask(&mut client, &subscribing(&owned(&["one more"]))).unwrap_err();
    assert_eq!(
        violation.to_string(),
        "more than 100 names are subscribed, over all types"
    );
}

#[test]
fn names_count_over_all_types_of_a_stream() {
    let mut client = Client::delta();
    client.publish([]);
    let half = subscribing(&numbers(TERMS.bounds.names / 2));
    for kind in [Route, Listener] {
        assert!(client.machine.delta(kind, &half, client.now).is_ok());
    }
    let one = subscribing(&owned(&["one more"]));
    let violation = client.machine.delta(Endpoints, &one, client.now);
    assert!(matches!(violation, Err(Violation::TooManyNames { .. })));
}

#[test]
fn a_request_with_too_long_lists_ends_the_stream() {
    let mut client = Client::delta();
    client.publish([opaque(Route, "a", "1")]);
    let same = |count: usize| vec!["a".to_owned(); count];
    let request = DeltaRequest {
        unsubscribe: same(2 * TERMS.bounds.names),
        ..subscribing(&same(TERMS.bounds.names + 2))
    };
    let violation = ask(&mut client, &request).unwrap_err();
    assert_eq!(
        violation.to_string(),
        "a request for RouteConfiguration lists 302 names, more than 301"
    );
    assert_eq!(client.machine.changes().count(), 0);
    let mut client = Client::sotw();
    let request = SotwRequest {
        names: same(3 * TERMS.bounds.names + 1),
        ..SotwRequest::default()
    };
    let violation = client.machine.sotw(Route, &request, client.now);
    assert!(matches!(violation, Err(Violation::LongLists { .. })));
}

#[test]
fn a_reconnecting_client_may_claim_all_resources_it_was_sent() {
    let names = numbers(4 * TERMS.bounds.names);
    let mut client = Client::delta();
    client.publish(names.iter().map(|name| opaque(Route, name, "1")));
    let request = DeltaRequest {
        initial_versions: with_versions(&names),
        ..DeltaRequest::default()
    };
    assert!(ask(&mut client, &request).is_ok());
}

#[test]
fn long_names_end_the_stream_however_few_they_are() {
    let mut client = Client::delta();
    client.publish([]);
    let long = |number: usize| format!("{number}{}", "x".repeat(TERMS.bounds.name_bytes / 2));
    assert!(ask(&mut client, &subscribing(&[long(1)])).is_ok());
    let one = DeltaRequest {
        unsubscribe: vec![long(1)],
        ..subscribing(&[long(2)])
    };
    assert!(ask(&mut client, &one).is_ok(), "one has gone for the other");
    assert!(matches!(
        ask(&mut client, &subscribing(&[long(3)])),
        Err(Violation::LongNames { .. })
    ));
}

#[test]
fn missing_claims_are_bounded_like_subscriptions() {
    let listing = |count: usize| DeltaRequest {
        initial_versions: with_versions(&numbers(count)),
        ..DeltaRequest::default()
    };
    let mut client = Client::delta();
    client.publish([]);
    assert!(ask(&mut client, &listing(TERMS.bounds.names)).is_ok());
    let one = client.machine.delta(Listener, &listing(1), client.now);
    assert!(matches!(one, Err(Violation::TooManyMissingClaims { .. })));
    let mut client = Client::delta();
    client.publish([]);
    assert!(matches!(
        ask(&mut client, &listing(TERMS.bounds.names + 1)),
        Err(Violation::TooManyMissingClaims { .. })
    ));
}

#[test]
fn repeated_wildcard_requests_without_an_answer_end_the_stream() {
    let mut client = Client::delta();
    client.machine.terms.bounds.wide_requests = 3;
    client.publish([opaque(Route, "a", "1"), opaque(Listener, "b", "1")]);
    for _ in 0..3 {
        let first = only(client.ask(Route, &["*"]));
        client.ack(&first);
    }
    let all = subscribing(&owned(&["*"]));
    let left = DeltaRequest {
        unsubscribe: owned(&["*"]),
        ..DeltaRequest::default()
    };
    for request in [&all, &left, &all] {
        assert!(ask(&mut client, request).is_ok());
    }
    assert!(matches!(
        ask(&mut client, &all),
        Err(Violation::Restless { .. })
    ));
}
