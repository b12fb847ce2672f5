use std::sync::Arc;

use envoy_types::pb::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};
use pointsman_xds::{NoTelemetry, ResourceType};

use crate::control_plane::{Stream, TestControlPlane, assignment, node, soon};

type Sotw = Stream<DiscoveryRequest, DiscoveryResponse>;

async fn open(server: &TestControlPlane) -> Sotw {
    let (requests, stream) = Sotw::requests();
    let mut client = server.client().await;
    let response = soon(client.stream_aggregated_resources(stream)).await;
    Stream::new(requests, response.unwrap().into_inner())
}

fn subscribe(kind: ResourceType, names: &[&str]) -> DiscoveryRequest {
    DiscoveryRequest {
        node: node(),
        type_url: kind.type_url().to_owned(),
        resource_names: names.iter().map(|name| (*name).to_owned()).collect(),
        ..Default::default()
    }
}

fn ack(response: &DiscoveryResponse, names: &[&str]) -> DiscoveryRequest {
    DiscoveryRequest {
        version_info: response.version_info.clone(),
        type_url: response.type_url.clone(),
        response_nonce: response.nonce.clone(),
        resource_names: names.iter().map(|name| (*name).to_owned()).collect(),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_flip_reaches_a_state_of_the_world_client_and_its_ack_the_barrier() {
    let server = TestControlPlane::open(Arc::new(NoTelemetry)).await;
    let sequence = server.publish_writer(0);
    let mut stream = open(&server).await;

    stream.send(subscribe(ResourceType::Cluster, &[])).await;
    let clusters = stream.receive().await;
    assert_eq!(clusters.resources[0].type_url, clusters.type_url);
    stream
        .send(subscribe(ResourceType::Endpoints, &["writer"]))
        .await;
    let endpoints = stream.receive().await;
    stream.send(ack(&endpoints, &["writer"])).await;
    stream.send(ack(&clusters, &[])).await;
    assert!(server.converge(sequence).await.reached);

    let sequence = server.publish_writer(1);
    let flip = stream.receive().await;
    assert_eq!(flip.resources[0].value, assignment("writer", 1).body()[..]);
    assert_ne!(flip.version_info, endpoints.version_info);
    stream.send(ack(&flip, &["writer"])).await;
    assert!(server.converge(sequence).await.reached);
}
