use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use envoy_types::pb::envoy::{
    config::core::v3::Node,
    service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse},
};
use pointsman_xds::{Group, NoTelemetry, Resource, ResourceType, Sequence, Snapshot};
use prost::Message as _;

use crate::{
    ALONE,
    house::{House, soon},
    resident,
    wire::{DATA, WINDOW_UPDATE, Wire, subscribe},
};

fn publish(house: &House, round: u8) -> Sequence {
    let body = Bytes::from(vec![round; 200_000]);
    let listener = Resource::new(ResourceType::Listener, "large", body);
    let snapshot = Snapshot::builder().insert(listener).build().unwrap();
    house
        .cache
        .publish(BTreeMap::from([(Group::new("all"), snapshot)]))
}

/// Subscribes and never reads again.
async fn stuck(house: &House, number: u32) -> Wire {
    let mut wire = Wire::greet(house).await;
    wire.open(1).await;
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
    let house = House::open(Arc::new(NoTelemetry)).await;
    publish(&house, 0);
    let mut reader = Wire::greet(&house).await;
    reader.open(1).await;
    // As large as windows get, so that this client is never held up by its own.
    let wide = (1_u32 << 30).to_be_bytes();
    reader.frame(WINDOW_UPDATE, 0, 0, &wide).await;
    reader.frame(WINDOW_UPDATE, 0, 1, &wide).await;
    let request = subscribe(ResourceType::Listener, &["large"]);
    reader.message(1, &request).await;
    acknowledge(&mut reader).await;
    let before = resident();
    let mut clients = Vec::new();
    for number in 0..STUCK {
        clients.push(stuck(&house, number).await);
    }
    for round in 1..=20 {
        let sequence = publish(&house, round);
        acknowledge(&mut reader).await;
        assert!(soon(house.converge(sequence)).await.reached);
    }
    let each = resident().saturating_sub(before) / clients.len();
    assert!(each <= 64 << 10, "{each} bytes each");
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

const STUCK: u32 = 100;
