//! What one client may cost, on the machine.

use super::*;
use crate::{
    fixture::opaque,
    resource::ResourceType::{Listener, Route},
};

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
    let names: Vec<_> = (0..TERMS.bounds.names)
        .map(|number| number.to_string())
        .collect();
    assert!(ask(&mut client, &subscribing(&names)).is_ok());
    let violation = ask(&mut client, &subscribing(&owned(&["one more"]))).unwrap_err();
    assert_eq!(
        violation.to_string(),
        "more than 100 names are subscribed for RouteConfiguration"
    );
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
fn a_client_may_not_have_had_more_than_it_may_ask_for() {
    let listing = |count: usize| DeltaRequest {
        initial_versions: (0..count)
            .map(|number| (number.to_string(), String::new()))
            .collect(),
        ..DeltaRequest::default()
    };
    let mut client = Client::delta();
    client.publish([]);
    assert!(ask(&mut client, &listing(TERMS.bounds.names)).is_ok());
    let mut client = Client::delta();
    client.publish([]);
    assert!(matches!(
        ask(&mut client, &listing(TERMS.bounds.names + 1)),
        Err(Violation::TooManyGone { .. })
    ));
}

#[test]
fn who_asks_for_everything_again_and_again_without_an_answer_is_ended() {
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
