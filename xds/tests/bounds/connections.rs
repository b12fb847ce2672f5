use std::{sync::Arc, time::Duration};

use envoy_types::pb::envoy::service::accesslog::v3::access_log_service_client::AccessLogServiceClient;
use pointsman_xds::{Limits, NoTelemetry, ResourceType};
use tokio::time::Instant;
use tonic::{Code, service::Routes, transport::Channel};

use crate::{
    control_plane::{TestControlPlane, soon},
    wire::{DATA, HEADERS, RESET, Wire, field, subscribe},
};

pub(crate) async fn started(limits: Limits) -> TestControlPlane {
    let server =
        TestControlPlane::open_with(Arc::new(NoTelemetry), limits, Routes::default()).await;
    server.publish_writer(0);
    server
}

async fn served(server: &TestControlPlane) -> Wire {
    let mut wire = Wire::greet(server).await;
    wire.open(1).await;
    wire.message(1, &subscribe(ResourceType::Cluster, &[]))
        .await;
    wire.read_kind(DATA).await.unwrap();
    wire
}

#[tokio::test]
async fn t27_a_rush_of_clients_is_spread_out_and_nobody_is_turned_away() {
    let server = started(Limits {
        connections_per_second: 100,
        ..Limits::default()
    })
    .await;
    let began = Instant::now();
    let mut clients = Vec::new();
    for _ in 0..150 {
        clients.push(served(&server).await);
    }
    assert!(began.elapsed() >= Duration::from_millis(400));
    assert_eq!(server.fleet.status()[0].streams, 150);
}

#[tokio::test]
async fn t27_a_client_beyond_the_limit_of_connections_waits_for_a_place() {
    let server = started(Limits {
        connections: 2,
        ..Limits::default()
    })
    .await;
    let first = served(&server).await;
    let _second = served(&server).await;
    let mut waiting = Wire::connect(&server).await;
    let silence = waiting.0.get_ref().readable();
    let silence = tokio::time::timeout(Duration::from_millis(100), silence).await;
    assert!(silence.is_err(), "the third is served beside the others");
    drop(first);
    // The server's settings.
    soon(waiting.read()).await.unwrap();
}

#[tokio::test]
async fn limits_clamp_very_long_durations() {
    let forever = Duration::MAX;
    let mut server = started(Limits {
        first_request: forever,
        admission: forever,
        answer: forever,
        keepalive_interval: forever,
        keepalive_timeout: forever,
        write: forever,
        connection_age: Some(forever),
        drain: forever,
        ..Limits::default()
    })
    .await;
    served(&server).await;
    server.stop.cancel();
    let ended = soon(server.serving.join_next()).await.unwrap();
    ended.unwrap().unwrap();
}

#[tokio::test]
async fn a_stream_beyond_the_limit_is_refused_and_a_closed_one_makes_room() {
    let server = started(Limits {
        streams: 1,
        ..Limits::default()
    })
    .await;
    let first = served(&server).await;
    let mut second = Wire::greet(&server).await;
    second.open(1).await;
    let refused = second.read_kind(HEADERS).await.unwrap();
    assert_eq!(field(&refused, "grpc-status").as_deref(), Some("8"));
    let mut changes = server.fleet.watch();
    drop(first);
    let gone = changes.wait_for(|_| server.fleet.status()[0].streams == 0);
    soon(gone).await.unwrap();
    served(&server).await;
}

#[tokio::test]
async fn a_telemetry_stream_beyond_the_limit_is_refused() {
    let server = started(Limits {
        telemetry_streams: 1,
        ..Limits::default()
    })
    .await;
    let client = AccessLogServiceClient::new(server.channel().await);
    let report = |mut client: AccessLogServiceClient<Channel>| async move {
        client.stream_access_logs(tokio_stream::pending()).await
    };
    let refused = tokio::select! {
        one = report(client.clone()) => one,
        other = report(client) => other,
    };
    assert_eq!(refused.unwrap_err().code(), Code::ResourceExhausted);
}

#[tokio::test]
async fn a_stream_beyond_the_limit_of_its_connection_is_refused_alone() {
    let server = started(Limits {
        streams_per_connection: 1,
        ..Limits::default()
    })
    .await;
    let mut wire = served(&server).await;
    wire.open(3).await;
    let refused = wire.read_kind(RESET).await.unwrap();
    assert_eq!((refused.stream, refused.payload), (3, vec![0, 0, 0, 7]));
    assert_eq!(server.fleet.status()[0].streams, 1);
}
