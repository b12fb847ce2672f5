use std::sync::Arc;

use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use pointsman_xds::{NoTelemetry, ResourceType};
use tonic::Code;

use crate::{
    control_plane::{TestControlPlane, soon},
    delta::{open, subscribe},
};

#[tokio::test]
async fn x01_a_stream_that_does_not_name_its_node_ends() {
    let server = TestControlPlane::open(Arc::new(NoTelemetry)).await;
    let mut stream = open(&server).await;
    let mut nameless = subscribe(ResourceType::Cluster, &[]);
    nameless.node = None;
    stream.send(nameless).await;
    assert_eq!(stream.failure().await.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn x02_a_request_without_a_type_ends_the_stream() {
    let server = TestControlPlane::open(Arc::new(NoTelemetry)).await;
    server.publish_writer(0);
    let mut stream = open(&server).await;
    stream.send(subscribe(ResourceType::Cluster, &[])).await;
    stream.receive().await;
    stream.send(DeltaDiscoveryRequest::default()).await;
    assert_eq!(stream.failure().await.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_node_that_is_not_admitted_gets_the_directorys_status_and_message() {
    let server = TestControlPlane::open(Arc::new(NoTelemetry)).await;
    for (cluster, code, message) in [
        (
            "unwanted",
            Code::PermissionDenied,
            "sidecar is not wanted here",
        ),
        ("early", Code::Unavailable, "sidecar comes too early"),
    ] {
        let mut stream = open(&server).await;
        let mut refused = subscribe(ResourceType::Cluster, &[]);
        refused.node.as_mut().unwrap().cluster = cluster.to_owned();
        stream.send(refused).await;
        let status = stream.failure().await;
        assert_eq!((status.code(), status.message()), (code, message));
    }
}

#[tokio::test]
async fn a_closed_stream_leaves_no_node_behind() {
    let server = TestControlPlane::open(Arc::new(NoTelemetry)).await;
    server.publish_writer(0);
    let mut changes = server.fleet.watch();
    let mut stream = open(&server).await;
    stream.send(subscribe(ResourceType::Cluster, &[])).await;
    stream.receive().await;
    assert_eq!(server.fleet.status()[0].streams, 1);
    drop(stream);
    let gone = changes.wait_for(|_| server.fleet.status()[0].streams == 0);
    soon(gone).await.unwrap();
}

#[tokio::test]
async fn stopping_ends_open_streams_and_the_server() {
    let mut server = TestControlPlane::open(Arc::new(NoTelemetry)).await;
    server.publish_writer(0);
    let mut stream = open(&server).await;
    stream.send(subscribe(ResourceType::Cluster, &[])).await;
    stream.receive().await;
    server.stop.cancel();
    assert_eq!(stream.failure().await.code(), Code::Unavailable);
    drop(stream);
    soon(server.serving.join_next())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
}
