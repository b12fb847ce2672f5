use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse,
};
use pointsman_xds::{Group, Limits, NoTelemetry, Resource, ResourceType, Snapshot};
use prost::Message as _;
use tokio_stream::StreamExt as _;
use tonic::service::Routes;

use crate::{
    control_plane::{TestControlPlane, soon},
    wire::{DATA, HEADERS, PING, WINDOW_UPDATE, Wire, field, framed, subscribe},
};

async fn started(limits: Limits) -> TestControlPlane {
    TestControlPlane::open_with(Arc::new(NoTelemetry), limits, Routes::default()).await
}

fn listener(size: usize) -> Snapshot {
    let body = Bytes::from(vec![7; size]);
    let listener = Resource::new(ResourceType::Listener, "large", body);
    Snapshot::builder().insert(listener).build().unwrap()
}

/// Reads a message, and allows the server this many bytes more whenever it has used them up.
async fn read_message(wire: &mut Wire, step: u32) -> Vec<u8> {
    let (mut message, mut unused) = (Vec::new(), 65_535);
    loop {
        let data = wire.read_kind(DATA).await.unwrap().payload;
        assert!(data.len() <= unused, "more than was allowed");
        unused -= data.len();
        message.extend_from_slice(&data);
        if message.len() >= 5 {
            let length = u32::from_be_bytes(message[1..5].try_into().unwrap());
            if message.len() == 5 + length as usize {
                return message.split_off(5);
            }
        }
        if unused == 0 {
            let increment = step.to_be_bytes();
            wire.frame(WINDOW_UPDATE, 0, 0, &increment).await;
            wire.frame(WINDOW_UPDATE, 0, 1, &increment).await;
            unused = step as usize;
        }
    }
}

#[tokio::test]
async fn t29_a_response_above_4_mib_gets_through_an_exhausted_window() {
    let server = started(Limits::default()).await;
    let snapshot = listener(5 << 20);
    server
        .cache
        .publish(BTreeMap::from([(Group::new("all"), snapshot)]));
    let mut wire = Wire::greet(&server).await;
    wire.open(1).await;
    wire.message(1, &subscribe(ResourceType::Listener, &["large"]))
        .await;
    let message = read_message(&mut wire, 10_000).await;
    let response = DeltaDiscoveryResponse::decode(&*message).unwrap();
    let body = &response.resources[0].resource.as_ref().unwrap().value;
    assert_eq!(body.len(), 5 << 20);
    assert!(body.iter().all(|byte| *byte == 7));
}

#[tokio::test]
async fn t29_a_request_is_taken_up_to_the_limit_and_refused_above_it() {
    let server = started(Limits {
        request_bytes: 1 << 20,
        ..Limits::default()
    })
    .await;
    server.publish_writer(0);
    let mut wire = Wire::greet(&server).await;
    wire.open(1).await;
    let mut request = subscribe(ResourceType::Endpoints, &["writer"]);
    // What is unsubscribed without having been subscribed counts for nothing.
    request.resource_names_unsubscribe = vec!["n".repeat(100); 10_000];
    assert!(request.encoded_len() < 1 << 20);
    wire.long_message(1, &request).await;
    wire.read_kind(DATA).await.unwrap();
    let above = [&[0], &((1_u32 << 20) + 1).to_be_bytes()[..]].concat();
    wire.frame(DATA, 0, 1, &above).await;
    let refused = wire.read_kind(HEADERS).await.unwrap();
    assert_eq!(field(&refused, "grpc-status").as_deref(), Some("8"));
}

#[tokio::test]
async fn a_stream_subscribes_to_so_many_names_and_no_more() {
    let server = started(Limits {
        names: 2,
        ..Limits::default()
    })
    .await;
    server.publish_writer(0);
    let mut wire = Wire::greet(&server).await;
    wire.open(1).await;
    wire.message(1, &subscribe(ResourceType::Endpoints, &["writer", "other"]))
        .await;
    wire.read_kind(DATA).await.unwrap();
    wire.message(1, &subscribe(ResourceType::Endpoints, &["third"]))
        .await;
    let refused = wire.read_kind(HEADERS).await.unwrap();
    assert_eq!(field(&refused, "grpc-status").as_deref(), Some("8"));
}

#[tokio::test]
async fn a_client_with_the_maximal_number_of_names_can_reconnect() {
    let limits = Limits::default();
    let (count, length) = (limits.names, limits.name_bytes / limits.names);
    let names = (0..count).map(|number| format!("{number:0length$}"));
    let version = "0".repeat(32);
    let request = DeltaDiscoveryRequest {
        initial_resource_versions: names.clone().map(|name| (name, version.clone())).collect(),
        resource_names_subscribe: names.collect(),
        ..subscribe(ResourceType::Endpoints, &[])
    };
    let server = started(limits).await;
    server.publish_writer(0);
    let mut client = server.client().await;
    let requests = tokio_stream::iter([request]).chain(tokio_stream::pending());
    let answer = soon(client.delta_aggregated_resources(requests)).await;
    let answer = soon(answer.unwrap().into_inner().message()).await.unwrap();
    assert_eq!(answer.unwrap().removed_resources.len(), count);
}

#[tokio::test]
async fn a_head_that_is_too_long_ends_the_connection() {
    let server = started(Limits {
        header_bytes: 100,
        ..Limits::default()
    })
    .await;
    let mut wire = Wire::greet(&server).await;
    wire.open(1).await;
    assert_eq!(wire.read_to_the_end().await, Some(9), "COMPRESSION_ERROR");
}

#[tokio::test]
async fn garbage_for_a_request_ends_its_stream_alone() {
    let server = started(Limits::default()).await;
    server.publish_writer(0);
    let mut wire = Wire::greet(&server).await;
    wire.open(1).await;
    wire.open(3).await;
    wire.frame(DATA, 0, 1, &[0, 0, 0, 0, 3, 0xff, 0xff, 0xff])
        .await;
    wire.message(3, &subscribe(ResourceType::Cluster, &[]))
        .await;
    let mut ended = None;
    let served = loop {
        let frame = wire.read().await.unwrap();
        if frame.kind == DATA {
            break frame.stream;
        }
        if frame.kind == HEADERS && frame.stream == 1 {
            ended = field(&frame, "grpc-status").or(ended);
        }
    };
    assert_eq!((served, ended.as_deref()), (3, Some("13")));
}

#[tokio::test]
async fn t25_a_flood_of_pings_ends_the_connection_with_a_word() {
    let server = started(Limits::default()).await;
    let mut wire = Wire::greet(&server).await;
    wire.open(1).await;
    // At once: time heals. The door may be closed before the last of them.
    let flood = framed(PING, 0, 0, &[0; 8]).repeat(3_000);
    wire.try_send(&flood).await.ok();
    let why = wire.read_to_the_end().await;
    assert_eq!(why, Some(11), "ENHANCE_YOUR_CALM");
}
