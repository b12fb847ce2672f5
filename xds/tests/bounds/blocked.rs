//! Streams whose client lets the server send nothing: nobody waits for it with the end.

use std::time::Duration;

use pointsman_xds::{Group, Limits, NodeId, ResourceType, TypeState};

use crate::{
    connections::started,
    control_plane::{TestControlPlane, soon},
    wire::{DATA, RESET, SETTINGS, Wire, grpc, subscribe},
};

/// Has a stream whose first response waits for a window.
async fn blocked(server: &TestControlPlane) -> Wire {
    let mut changes = server.fleet.watch();
    let mut wire = Wire::greet(server).await;
    let no_window = [0, 4, 0, 0, 0, 0];
    wire.frame(SETTINGS, 0, 0, &no_window).await;
    wire.open(1).await;
    wire.message(1, &subscribe(ResourceType::Cluster, &[]))
        .await;
    let sent = changes.wait_for(|_| {
        let nodes = server.fleet.status();
        let mut types = nodes.iter().flat_map(|node| &node.types);
        types.any(|status| status.sent.is_some())
    });
    soon(sent).await.unwrap();
    wire
}

/// Reads until the stream is reset; says why.
async fn reset(wire: &mut Wire) -> u32 {
    let frame = wire.read_kind(RESET).await.unwrap();
    assert_eq!(frame.stream, 1);
    u32::from_be_bytes(frame.payload.try_into().unwrap())
}

#[tokio::test]
async fn a_client_that_is_blocked_lags_when_its_time_for_an_answer_is_over() {
    let server = started(Limits {
        answer: Duration::from_millis(100),
        ..Limits::default()
    })
    .await;
    let mut changes = server.fleet.watch();
    let _wire = blocked(&server).await;
    let lagging = changes.wait_for(|_| {
        let nodes = server.fleet.status();
        let mut types = nodes.iter().flat_map(|node| &node.types);
        types.any(|status| matches!(status.state, TypeState::Lagging { .. }))
    });
    soon(lagging).await.unwrap();
}

#[tokio::test]
async fn half_a_request_ends_a_stream_that_is_blocked() {
    let server = started(Limits {
        first_request: Duration::from_millis(100),
        ..Limits::default()
    })
    .await;
    let mut wire = blocked(&server).await;
    let whole = grpc(&subscribe(ResourceType::Endpoints, &["writer"]));
    wire.frame(DATA, 0, 1, &whole[..whole.len() - 1]).await;
    assert_eq!(reset(&mut wire).await, CANCEL);
}

#[tokio::test]
async fn garbage_ends_a_stream_that_is_blocked() {
    let server = started(Limits::default()).await;
    let mut wire = blocked(&server).await;
    wire.frame(DATA, 0, 1, &[0, 0, 0, 0, 3, 0xff, 0xff, 0xff])
        .await;
    assert_eq!(reset(&mut wire).await, CANCEL);
}

#[tokio::test]
async fn a_node_that_is_dismissed_loses_a_stream_that_is_blocked() {
    let server = started(Limits::default()).await;
    let mut wire = blocked(&server).await;
    let node = NodeId::from("sidecar");
    server.cache.dismiss(&Group::new("all"), &node);
    assert_eq!(reset(&mut wire).await, CANCEL);
}

#[tokio::test]
async fn a_server_that_stops_does_not_wait_for_a_stream_that_is_blocked() {
    let mut server = started(Limits {
        drain: Duration::from_secs(3600),
        ..Limits::default()
    })
    .await;
    let mut wire = blocked(&server).await;
    server.stop.cancel();
    assert_eq!(reset(&mut wire).await, CANCEL);
    let served = soon(server.serving.join_next()).await.unwrap();
    served.unwrap().unwrap();
}

const CANCEL: u32 = 8;
