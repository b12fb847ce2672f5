//! What a stream costs: bytes while it has everything, names looked at when something changes.

use super::*;
use crate::{
    fixture::{assignment, eds_cluster, opaque},
    resource::ResourceType::{Cluster, Endpoints, Listener, Route, Secret},
};

#[test]
fn five_types_of_two_resources_each_cost_two_kilobytes() {
    let mut client = Client::delta();
    let pair = |kind| ["a", "b"].map(|name| opaque(kind, name, "1"));
    let clusters = ["a", "b"].map(|name| eds_cluster(name, 1));
    let endpoints = ["a", "b"].map(|name| assignment(name, 1));
    let others = [Listener, Route, Secret].map(pair);
    client.publish(
        clusters
            .into_iter()
            .chain(endpoints)
            .chain(others.into_iter().flatten()),
    );
    for kind in [Cluster, Endpoints, Listener, Route, Secret] {
        let first = client.ask(kind, &["a", "b"]);
        client.settle(first);
    }
    assert!(client.machine.synced_to().is_some());
    let substreams = client.machine.substreams.iter().flatten();
    let bytes: usize = substreams.map(|substream| substream.heap()).sum();
    assert!(bytes <= 2048, "{bytes} bytes");
    assert!(size_of::<Machine>() <= 512, "{}", size_of::<Machine>());
}

#[test]
fn a_large_nacked_batch_is_retried_in_constant_time_per_answer() {
    let count = 1_000;
    let many = (0..count).map(|n| opaque(Route, &format!("{n:04}"), "1"));
    let mut client = Client::delta();
    client.publish(many);
    let all = only(client.ask(Route, &["*"]));
    let mut next = client.nack(&all);
    for number in 0..count {
        let alone = only(next);
        assert_eq!(sent(&alone), [format!("{number:04}")]);
        let routes = client.machine.substreams[Route.index()].as_ref().unwrap();
        assert_eq!(routes.has_retries(), number + 1 < count);
        next = client.nack(&alone);
    }
    assert!(next.is_empty());
    let TypeState::Nacked { resources, .. } = client.state(Route) else {
        panic!("{:?}", client.state(Route));
    };
    assert_eq!(resources.len(), TypeState::MAX_RESOURCES);
}

#[test]
fn one_change_of_ten_thousand_unsettles_one_name() {
    let count = 10_000;
    let many = |kind: ResourceType| (0..count).map(move |n| opaque(kind, &format!("{n:05}"), "1"));
    let snapshot = Snapshot::builder().extend(many(Route)).build().unwrap();
    let mut client = Client::delta();
    client.show(snapshot.clone());
    let first = client.ask(Route, &["*"]);
    client.settle(first);
    assert!(
        client.machine.substreams[Route.index()]
            .as_ref()
            .unwrap()
            .client()
            .is_settled()
    );
    let next = snapshot
        .to_builder()
        .insert(opaque(Route, "00077", "2"))
        .build()
        .unwrap();
    let changed = only(client.show(next));
    assert_eq!(sent(&changed), ["00077"]);
    assert_eq!(
        client.machine.substreams[Route.index()]
            .as_ref()
            .unwrap()
            .client()
            .unsettled_names()
            .count(),
        1
    );
    client.ack(&changed);
    assert!(client.machine.synced_to().is_some());
}
