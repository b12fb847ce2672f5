use std::sync::Arc;

use envoy_types::pb::{
    envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse},
    google::rpc,
};
use pointsman_xds::{NoTelemetry, Outcome, ResourceType};

use crate::control_plane::{Stream, TestControlPlane, assignment, cluster, node, soon};

type Delta = Stream<DeltaDiscoveryRequest, DeltaDiscoveryResponse>;

pub(crate) async fn open(server: &TestControlPlane) -> Delta {
    let (requests, stream) = Delta::requests();
    let mut client = server.client().await;
    let response = soon(client.delta_aggregated_resources(stream)).await;
    Stream::new(requests, response.unwrap().into_inner())
}

pub(crate) fn subscribe(kind: ResourceType, names: &[&str]) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        node: node(),
        type_url: kind.type_url().to_owned(),
        resource_names_subscribe: names.iter().map(|name| (*name).to_owned()).collect(),
        ..Default::default()
    }
}

pub(crate) fn ack(response: &DeltaDiscoveryResponse) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: response.type_url.clone(),
        response_nonce: response.nonce.clone(),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_flip_reaches_a_delta_client_and_its_ack_the_barrier() {
    let server = TestControlPlane::open(Arc::new(NoTelemetry)).await;
    let sequence = server.publish_writer(0);
    let mut stream = open(&server).await;

    stream.send(subscribe(ResourceType::Cluster, &[])).await;
    let clusters = stream.receive().await;
    assert_eq!(clusters.resources[0].name, "writer");
    assert_eq!(clusters.type_url, ResourceType::Cluster.type_url());
    let any = clusters.resources[0].resource.as_ref().unwrap();
    assert_eq!(any.type_url, clusters.type_url);
    assert_eq!(any.value, cluster("writer").body()[..]);
    assert!(
        !clusters
            .control_plane
            .as_ref()
            .unwrap()
            .identifier
            .is_empty()
    );

    stream
        .send(subscribe(ResourceType::Endpoints, &["writer"]))
        .await;
    let endpoints = stream.receive().await;
    stream.send(ack(&endpoints)).await;
    stream.send(ack(&clusters)).await;
    assert!(server.converge(sequence).await.reached);

    let sequence = server.publish_writer(1);
    let flip = stream.receive().await;
    assert_eq!(flip.type_url, ResourceType::Endpoints.type_url());
    let flipped = assignment("writer", 1);
    assert_eq!(flip.resources[0].version, flipped.version().to_string());
    assert_ne!(flip.nonce, endpoints.nonce);
    stream.send(ack(&flip)).await;
    assert!(server.converge(sequence).await.reached);
}

#[tokio::test]
async fn a_nack_ends_the_barrier_with_the_clients_message() {
    let server = TestControlPlane::open(Arc::new(NoTelemetry)).await;
    let sequence = server.publish_writer(0);
    let mut stream = open(&server).await;
    stream
        .send(subscribe(ResourceType::Endpoints, &["writer"]))
        .await;
    let mut refusal = ack(&stream.receive().await);
    refusal.error_detail = Some(rpc::Status {
        code: 3,
        message: "malformed IP address".to_owned(),
        details: Vec::new(),
    });
    stream.send(refusal).await;
    let convergence = server.converge(sequence).await;
    assert!(!convergence.reached);
    let Outcome::Nacked {
        kind,
        resources,
        message,
    } = &convergence.nodes[0].1
    else {
        panic!("{convergence:?}");
    };
    assert_eq!(*kind, ResourceType::Endpoints);
    assert_eq!(
        (&*resources[0], &**message),
        ("writer", "malformed IP address")
    );
}
