use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use envoy_types::pb::envoy::{
    config::core::v3::Node,
    service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse},
};
use pointsman_xds::{Group, NoTelemetry, Resource, ResourceType, Sequence, Snapshot, TypeStatus};
use prost::Message as _;

use crate::{
    ALONE,
    control_plane::{TestControlPlane, soon},
    resident,
    wire::{DATA, PING, WINDOW_UPDATE, Wire, subscribe},
};

fn publish(server: &TestControlPlane, round: u8) -> Sequence {
    let body = Bytes::from(vec![round; 200_000]);
    let listener = Resource::new(ResourceType::Listener, "large", body);
    let snapshot = Snapshot::builder().insert(listener).build().unwrap();
    server
        .cache
        .publish(BTreeMap::from([(Group::new("all"), snapshot)]))
}

/// Subscribes and never reads again: every other one lets its windows run out, the rest have
/// wide ones, so that it is the socket that takes no more.
async fn stuck(server: &TestControlPlane, number: usize) -> Wire {
    let mut wire = Wire::greet(server).await;
    wire.open(1).await;
    if number.is_multiple_of(2) {
        widen(&mut wire).await;
    }
    let request = DeltaDiscoveryRequest {
        node: Some(Node {
            id: format!("stuck-{number}"),
            ..Node::default()
        }),
        ..subscribe(ResourceType::Listener, &["large"])
    };
    wire.message(1, &request).await;
    wire
}

#[tokio::test]
async fn t25_clients_that_never_read_cost_little_and_delay_nobody() {
    let _alone = ALONE.lock().await;
    let server = TestControlPlane::open(Arc::new(NoTelemetry)).await;
    publish(&server, 0);
    let mut reader = Wire::greet(&server).await;
    reader.open(1).await;
    widen(&mut reader).await;
    let request = subscribe(ResourceType::Listener, &["large"]);
    reader.message(1, &request).await;
    acknowledge(&mut reader).await;
    let before = resident();
    let mut clients = Vec::new();
    for number in 0..STUCK {
        clients.push(stuck(&server, number).await);
    }
    wait_until_all_are_stuck(&server).await;
    for round in 1..=20 {
        let sequence = publish(&server, round);
        acknowledge(&mut reader).await;
        assert!(soon(server.converge(sequence)).await.reached);
        reader.frame(PING, 0, 0, &[round; 8]).await;
        let answer = reader.read_kind(PING).await.unwrap();
        assert_eq!((answer.flags, answer.payload), (1, vec![round; 8]));
    }
    assert_eq!(count_stuck(&server), STUCK, "some are stuck no longer");
    let each = resident().saturating_sub(before) / clients.len();
    assert!(each <= 64 << 10, "{each} bytes each");
}

/// As large as windows get: such a client is never held up by its own.
async fn widen(wire: &mut Wire) {
    let wide = (1_u32 << 30).to_be_bytes();
    wire.frame(WINDOW_UPDATE, 0, 0, &wide).await;
    wire.frame(WINDOW_UPDATE, 0, 1, &wide).await;
}

async fn wait_until_all_are_stuck(server: &TestControlPlane) {
    let mut changes = server.fleet.watch();
    let all = changes.wait_for(|_| count_stuck(server) == STUCK);
    soon(all).await.unwrap();
}

/// Those on whose streams a response is under way that they have not answered.
fn count_stuck(server: &TestControlPlane) -> usize {
    let nodes = server.fleet.status();
    let strangers = nodes
        .iter()
        .filter(|node| node.id.as_str().starts_with("stuck-") && node.streams == 1);
    let waiting = |status: &TypeStatus| status.sent.is_some() && status.acknowledged.is_none();
    strangers
        .filter(|node| node.types.iter().any(waiting))
        .count()
}

/// Reads a response and answers it.
async fn acknowledge(wire: &mut Wire) {
    let mut message = Vec::new();
    loop {
        message.extend(wire.read_kind(DATA).await.unwrap().payload);
        let length = u32::from_be_bytes(message[1..5].try_into().unwrap());
        if message.len() == 5 + length as usize {
            break;
        }
    }
    let response = DeltaDiscoveryResponse::decode(&message[5..]).unwrap();
    let ack = DeltaDiscoveryRequest {
        type_url: response.type_url,
        response_nonce: response.nonce,
        ..DeltaDiscoveryRequest::default()
    };
    wire.message(1, &ack).await;
}

const STUCK: usize = 100;
