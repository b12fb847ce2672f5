use std::{collections::BTreeMap, sync::Arc, time::Duration};

use envoy_types::pb::envoy::service::accesslog::v3::{
    StreamAccessLogsMessage, access_log_service_client::AccessLogServiceClient,
    stream_access_logs_message::Identifier,
};
use pointsman_xds::{Group, Limits, NoTelemetry, Resource, ResourceType, Snapshot};
use tonic::{Code, service::Routes};

use crate::{
    control_plane::{TestControlPlane, node, soon},
    wire::{
        ACCESS_LOGS, DATA, END_HEADERS, HEADERS, PING, WINDOW_UPDATE, Wire, field, grpc, head,
        subscribe,
    },
};

async fn started(limits: Limits) -> TestControlPlane {
    TestControlPlane::open_with(Arc::new(NoTelemetry), limits, Routes::default()).await
}

fn brief() -> Limits {
    Limits {
        first_request: Duration::from_millis(100),
        ..Limits::default()
    }
}

#[tokio::test]
async fn a_client_that_does_not_speak_http2_is_sent_away() {
    let server = started(Limits::default()).await;
    let mut wire = Wire::connect(&server).await;
    wire.send(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n").await;
    assert_eq!(wire.read_to_the_end().await, Some(1));
}

#[tokio::test]
async fn a_connection_that_asks_for_nothing_ends() {
    let server = started(brief()).await;
    let mut silent = Wire::connect(&server).await;
    assert_eq!(silent.read_to_the_end().await, Some(0));
    let mut greeted = Wire::greet(&server).await;
    assert_eq!(greeted.read_to_the_end().await, Some(0));
}

#[tokio::test]
async fn a_stream_without_its_first_request_ends_and_so_does_half_a_request() {
    let server = started(brief()).await;
    let mut wire = Wire::greet(&server).await;
    wire.open(1).await;
    wire.open(3).await;
    let whole = grpc(&subscribe(ResourceType::Cluster, &[]));
    wire.frame(DATA, 0, 3, &whole[..whole.len() - 1]).await;
    let mut ended = Vec::new();
    while ended.len() < 2 {
        let frame = wire.read_kind(HEADERS).await.unwrap();
        if let Some(status) = field(&frame, "grpc-status") {
            assert_eq!(status, "4", "DEADLINE_EXCEEDED");
            ended.push(frame.stream);
        }
    }
    ended.sort_unstable();
    assert_eq!(ended, [1, 3]);
    wire.open(5).await;
    wire.frame(DATA, 0, 5, &[&whole[..], &whole[..6]].concat())
        .await;
    wire.read_kind(HEADERS).await.unwrap();
    let ended = wire.read_kind(HEADERS).await.unwrap();
    assert_eq!(field(&ended, "grpc-status").as_deref(), Some("4"));
}

#[tokio::test]
async fn a_telemetry_stream_without_its_first_message_ends() {
    let server = started(brief()).await;
    let mut client = AccessLogServiceClient::new(server.channel().await);
    let ended = soon(client.stream_access_logs(tokio_stream::pending())).await;
    assert_eq!(ended.unwrap_err().code(), Code::DeadlineExceeded);
}

#[tokio::test]
async fn half_a_report_ends_its_telemetry_stream() {
    let server = started(brief()).await;
    let mut wire = Wire::greet(&server).await;
    wire.frame(HEADERS, END_HEADERS, 1, &head(ACCESS_LOGS))
        .await;
    let first = grpc(&StreamAccessLogsMessage {
        identifier: Some(Identifier {
            node: node(),
            log_name: String::new(),
        }),
        log_entries: None,
    });
    wire.frame(DATA, 0, 1, &[&first[..], &first[..6]].concat())
        .await;
    let ended = wire.read_kind(HEADERS).await.unwrap();
    assert_eq!(field(&ended, "grpc-status").as_deref(), Some("4"));
}

#[tokio::test]
async fn a_client_that_is_not_admitted_in_time_gets_unavailable() {
    let server = started(Limits {
        admission: Duration::from_millis(100),
        ..Limits::default()
    })
    .await;
    let mut wire = Wire::greet(&server).await;
    wire.open(1).await;
    let mut request = subscribe(ResourceType::Cluster, &[]);
    request.node.as_mut().unwrap().cluster = "undecided".to_owned();
    wire.message(1, &request).await;
    // The response's head comes first.
    wire.read_kind(HEADERS).await.unwrap();
    let ended = wire.read_kind(HEADERS).await.unwrap();
    assert_eq!(field(&ended, "grpc-status").as_deref(), Some("14"));
}

#[tokio::test]
async fn a_client_that_does_not_read_is_disconnected() {
    let server = started(Limits {
        write: Duration::from_millis(100),
        ..Limits::default()
    })
    .await;
    // More than sockets hold.
    let large = Resource::new(ResourceType::Listener, "large", vec![7; 32 << 20].into());
    let snapshot = Snapshot::builder().insert(large).build().unwrap();
    server
        .cache
        .publish(BTreeMap::from([(Group::new("all"), snapshot)]));
    let mut changes = server.fleet.watch();
    let mut wire = Wire::greet(&server).await;
    wire.open(1).await;
    let wide = (1_u32 << 30).to_be_bytes();
    wire.frame(WINDOW_UPDATE, 0, 0, &wide).await;
    wire.frame(WINDOW_UPDATE, 0, 1, &wide).await;
    wire.message(1, &subscribe(ResourceType::Listener, &["large"]))
        .await;
    wire.read_kind(DATA).await.unwrap();
    let gone = changes.wait_for(|_| server.fleet.status()[0].streams == 0);
    soon(gone).await.unwrap();
}

#[tokio::test]
async fn t26_a_client_that_has_gone_without_a_word_is_found_by_keepalive() {
    let server = started(Limits {
        keepalive_interval: Duration::from_millis(100),
        keepalive_timeout: Duration::from_millis(100),
        ..Limits::default()
    })
    .await;
    server.publish_writer(0);
    let mut changes = server.fleet.watch();
    let mut wire = Wire::greet(&server).await;
    wire.open(1).await;
    wire.message(1, &subscribe(ResourceType::Cluster, &[]))
        .await;
    wire.read_kind(DATA).await.unwrap();
    let ping = wire.read_kind(PING).await.unwrap();
    // It is there for as long as it answers.
    wire.frame(PING, 1, 0, &ping.payload).await;
    wire.read_kind(PING).await.unwrap();
    assert_eq!(server.fleet.status()[0].streams, 1);
    let gone = changes.wait_for(|_| server.fleet.status()[0].streams == 0);
    soon(gone).await.unwrap();
}

#[tokio::test]
async fn a_connection_is_used_no_longer_than_it_may_be() {
    let server = started(Limits {
        connection_age: Some(Duration::from_millis(100)),
        drain: Duration::from_millis(100),
        keepalive_interval: Duration::from_mins(1),
        ..Limits::default()
    })
    .await;
    server.publish_writer(0);
    let mut wire = Wire::greet(&server).await;
    wire.open(1).await;
    // A stream that does not end by itself.
    wire.message(1, &subscribe(ResourceType::Cluster, &[]))
        .await;
    assert_eq!(wire.read_to_the_end().await, Some(0));
}
