use super::*;
use crate::{
    fixture::{assignment, opaque},
    resource::ResourceType::{Cluster, Endpoints, Listener, Route, Runtime},
};

fn routes(versions: &[(&str, &str)]) -> Vec<Resource> {
    versions
        .iter()
        .map(|(name, content)| opaque(Route, name, content))
        .collect()
}

#[test]
fn t08_x23_refused_content_is_not_sent_again_until_it_changes() {
    for transport in [Transport::Delta, Transport::StateOfTheWorld] {
        let mut client = Client::new(transport);
        client.publish([assignment("a", 1)]);
        let first = client.ask(Endpoints, &["a"]);
        client.settle(first);
        let bad = only(client.publish([assignment("a", 2)]));
        assert!(client.nack(&bad).is_empty());
        assert!(client.publish([assignment("a", 2)]).is_empty());
        assert!(client.advance().is_empty());
        assert_eq!(client.machine.synced_to(), None);
        let good = only(client.publish([assignment("a", 3)]));
        assert!(client.ack(&good).is_empty());
        assert_eq!(client.machine.synced_to(), Some(Sequence::from(4)));
    }
}

#[test]
fn x23_the_content_acknowledged_before_a_refusal_is_still_known() {
    let mut client = Client::delta();
    client.publish([assignment("a", 1)]);
    let first = client.ask(Endpoints, &["a"]);
    client.settle(first);
    let bad = only(client.publish([assignment("a", 2)]));
    client.nack(&bad);
    assert!(client.publish([assignment("a", 1)]).is_empty());
    assert_eq!(client.machine.synced_to(), Some(Sequence::from(3)));
}

#[test]
fn t09_the_valid_resources_of_a_nacked_batch_are_delivered() {
    for transport in [Transport::Delta, Transport::StateOfTheWorld] {
        let mut client = Client::new(transport);
        client.publish(routes(&[("bad", "1"), ("good", "1")]));
        let first = client.ask(Route, &["bad", "good"]);
        client.settle(first);
        let both = only(client.publish(routes(&[("bad", "2"), ("good", "2")])));
        let one = only(client.nack(&both));
        assert_eq!(sent(&one), ["bad"]);
        let other = only(client.nack(&one));
        assert_eq!(sent(&other), ["good"]);
        assert!(client.ack(&other).is_empty());
        let TypeState::Nacked { message, resources } = client.state(Route) else {
            panic!("{:?}", client.state(Route));
        };
        assert_eq!((&*message, &*resources), ("malformed", &["bad".into()][..]));
    }
}

#[test]
fn after_a_nacked_batch_the_undo_sends_all_resources_together() {
    for transport in [Transport::Delta, Transport::StateOfTheWorld] {
        let mut client = Client::new(transport);
        let old = routes(&[("a", "1"), ("b", "1"), ("c", "1")]);
        client.publish(old.clone());
        let first = client.ask(Route, &["a", "b", "c"]);
        client.settle(first);
        let hold = only(client.publish(routes(&[("a", "2"), ("b", "2"), ("c", "1")])));
        let alone = only(client.nack(&hold));
        assert_eq!(sent(&alone), ["a"]);
        assert!(client.publish(old).is_empty());
        // Even "a", refused alone in the end, may have been taken from the first response.
        let undo = only(client.nack(&alone));
        assert_eq!(sent(&undo), ["a", "b"]);
        client.ack(&undo);
        assert_eq!(client.machine.synced_to(), Some(Sequence::from(3)));
    }
}

#[test]
fn other_changes_do_not_wait_for_the_retries_of_a_nacked_batch() {
    let mut client = Client::delta();
    client.publish(routes(&[("a", "1"), ("b", "1"), ("c", "1")]));
    let first = only(client.ask(Route, &["a", "b", "c"]));
    let alone = only(client.nack(&first));
    assert_eq!(sent(&alone), ["a"]);
    client.publish(routes(&[("a", "1"), ("b", "1"), ("c", "2")]));
    let fresh = only(client.ack(&alone));
    assert_eq!(sent(&fresh), ["c"]);
    assert_eq!(sent(&only(client.ack(&fresh))), ["b"]);
}

#[test]
fn t07_a_stale_nack_refuses_nothing() {
    let mut client = Client::delta();
    client.publish([assignment("a", 1)]);
    let first = only(client.ask(Endpoints, &["a"]));
    client.ack(&first);
    let second = only(client.publish([assignment("a", 2)]));
    assert!(client.nack(&first).is_empty());
    client.ack(&second);
    assert_eq!(client.machine.synced_to(), Some(Sequence::from(2)));
}

#[test]
fn t10_a_storm_of_refusals_causes_no_answer_and_stalls_no_other_type() {
    let mut client = Client::delta();
    client.publish([]);
    for (kind, name) in [(Endpoints, "a"), (Route, "r")] {
        let missing = client.ask(kind, &[name]);
        client.settle(missing);
    }
    for round in 1..1000 {
        let bad = assignment("a", round);
        let bad = only(client.publish([bad, opaque(Route, "r", &round.to_string())]));
        let route = only(client.nack(&bad));
        assert_eq!(sent(&route), ["r"]);
        for _ in 0..3 {
            assert!(client.nack(&bad).is_empty());
        }
        assert!(client.ack(&route).is_empty());
        assert_eq!(client.state(Route), TypeState::Synced);
        let refused = client.machine.substreams[Endpoints.index()].as_ref();
        assert_eq!(refused.unwrap().client().unsettled_names().count(), 1);
    }
}

#[test]
fn a_nacked_full_state_of_listeners_is_not_resent_and_its_undo_is() {
    let listeners = |b| [opaque(Listener, "a", "1"), opaque(Listener, "b", b)];
    let mut client = Client::sotw();
    client.publish(listeners("1"));
    let first = client.ask(Listener, &[]);
    client.settle(first);
    let bad = only(client.publish(listeners("2")));
    assert!(client.nack(&bad).is_empty());
    assert!(client.publish(listeners("2")).is_empty());
    assert!(matches!(client.state(Listener), TypeState::Nacked { .. }));
    // Some of the refused response may be in use: the former content is no longer known.
    let undo = only(client.publish(listeners("1")));
    assert_eq!(sent(&undo), ["a", "b"]);
    client.ack(&undo);
    assert_eq!(client.state(Listener), TypeState::Synced);
}

#[test]
fn a_refused_addition_does_not_hinder_its_own_undo() {
    let mut client = Client::sotw();
    let old = [opaque(Cluster, "old", "")];
    client.publish(old.clone());
    let first = client.ask(Cluster, &[]);
    client.settle(first);
    let both = only(client.publish([old[0].clone(), opaque(Cluster, "bad", "")]));
    assert!(client.nack(&both).is_empty());
    let undo = only(client.publish(old));
    assert_eq!(sent(&undo), ["old"]);
    assert!(client.ack(&undo).is_empty());
    assert_eq!(client.machine.synced_to(), Some(Sequence::from(3)));
}

#[test]
fn a_name_subscribed_together_with_the_wildcard_is_sent() {
    let mut client = Client::sotw();
    client.publish([]);
    client.ask(Runtime, &["a"]);
    client.publish([opaque(Runtime, "b", "1")]);
    let bad = only(client.ask(Runtime, &["a", "b", "*"]));
    client.nack(&bad);
    assert!(matches!(client.state(Runtime), TypeState::Nacked { .. }));
    assert_eq!(client.machine.synced_to(), None);
}

#[test]
fn a_client_that_nacked_everything_is_sent_an_empty_state() {
    let mut client = Client::sotw();
    client.publish([opaque(Cluster, "bad", "")]);
    let bad = only(client.ask(Cluster, &[]));
    assert!(client.nack(&bad).is_empty());
    // It may have clusters of an earlier stream.
    let nothing = only(client.publish([]));
    assert!(nothing.resources.is_empty());
    assert!(client.nack(&nothing).is_empty());
    assert!(client.publish([]).is_empty());
}

/// Envoy takes listeners away before it adds any.
#[test]
fn a_nacked_full_state_may_have_removed_what_it_did_not_hold() {
    let mut client = Client::sotw();
    let both = [opaque(Listener, "a", "1"), opaque(Listener, "b", "1")];
    client.publish(both.clone());
    let first = client.ask(Listener, &[]);
    client.settle(first);
    let bad = only(client.publish([opaque(Listener, "a", "bad")]));
    assert_eq!(sent(&bad), ["a"]);
    assert!(client.nack(&bad).is_empty());
    let again = only(client.publish(both));
    assert_eq!(sent(&again), ["a", "b"]);
    assert_eq!(client.machine.synced_to(), None);
    client.settle(vec![again]);
    assert!(client.machine.synced_to().is_some());
}

/// Nothing was sent in between that would have taken it away.
#[test]
fn a_resource_unsubscribed_for_a_while_counts_as_unknown() {
    let mut client = Client::sotw();
    client.publish([opaque(Listener, "a", "1")]);
    let first = client.ask(Listener, &["a"]);
    client.settle(first);
    assert!(client.ask(Listener, &[]).is_empty());
    client.publish([opaque(Listener, "a", "bad")]);
    let bad = only(client.ask(Listener, &["a"]));
    assert!(client.nack(&bad).is_empty());
    let gone = only(client.publish([]));
    assert_eq!(sent(&gone), [""; 0]);
    client.settle(vec![gone]);
    assert!(client.machine.synced_to().is_some());
}

#[test]
fn a_name_unsubscribed_together_with_a_new_wildcard_is_sent() {
    let mut client = Client::delta();
    client.publish([opaque(Route, "a", "bad")]);
    let bad = only(client.request(Route, &["a", "*"], &["a"], Reply::default()));
    assert!(client.nack(&bad).is_empty());
    assert!(matches!(client.state(Route), TypeState::Nacked { .. }));
    assert_eq!(client.machine.synced_to(), None);
}
