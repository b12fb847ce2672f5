//! What the port offers beside aggregated discovery.

use std::sync::Arc;

use async_trait::async_trait;
use envoy_types::pb::envoy::service::{
    cluster::v3::cluster_discovery_service_client::ClusterDiscoveryServiceClient,
    discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest},
    endpoint::v3::endpoint_discovery_service_client::EndpointDiscoveryServiceClient,
    ratelimit::v3::{
        RateLimitRequest, RateLimitResponse,
        rate_limit_service_client::RateLimitServiceClient,
        rate_limit_service_server::{RateLimitService, RateLimitServiceServer},
    },
};
use pointsman_xds::{Limits, NoTelemetry, Peer, ResourceType};
use tonic::{Code, Request, Response, Status, service::Routes};

use crate::{
    control_plane::{Stream, TestControlPlane, soon},
    delta::subscribe,
};

#[tokio::test]
async fn x02_a_service_of_one_type_takes_an_empty_type_for_its_own() {
    let server = TestControlPlane::open(Arc::new(NoTelemetry)).await;
    server.publish_writer(0);
    let mut client = EndpointDiscoveryServiceClient::new(server.channel().await);
    let (requests, stream) = Stream::<DeltaDiscoveryRequest, DeltaDiscoveryResponse>::requests();
    let responses = soon(client.delta_endpoints(stream)).await.unwrap();
    let mut stream = Stream::new(requests, responses.into_inner());
    let mut request = subscribe(ResourceType::Endpoints, &["writer"]);
    request.type_url.clear();
    stream.send(request).await;
    let response = stream.receive().await;
    assert_eq!(response.type_url, ResourceType::Endpoints.type_url());
    assert_eq!(response.resources[0].name, "writer");
    stream.send(subscribe(ResourceType::Cluster, &[])).await;
    assert_eq!(stream.failure().await.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn single_requests_are_unimplemented_with_a_message() {
    let server = TestControlPlane::open(Arc::new(NoTelemetry)).await;
    let mut client = ClusterDiscoveryServiceClient::new(server.channel().await);
    let refused = soon(client.fetch_clusters(DiscoveryRequest::default())).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
    assert!(refused.message().contains("streams"), "{refused}");
}

#[derive(Debug)]
struct Doorman;

#[async_trait]
impl RateLimitService for Doorman {
    async fn should_rate_limit(
        &self,
        request: Request<RateLimitRequest>,
    ) -> Result<Response<RateLimitResponse>, Status> {
        let peer = request.extensions().get::<Peer>().cloned();
        let raw_body = peer.unwrap().address.ip().to_string().into_bytes();
        let domain = request.into_inner().domain;
        if domain.is_empty() {
            return Err(Status::invalid_argument(
                "which domain? 50 % of callers forget",
            ));
        }
        Ok(Response::new(RateLimitResponse {
            raw_body: [domain.into_bytes(), raw_body].concat(),
            ..RateLimitResponse::default()
        }))
    }
}

#[tokio::test]
async fn a_service_of_the_users_is_served_on_the_same_port() {
    let routes = Routes::new(RateLimitServiceServer::new(Doorman));
    let server =
        TestControlPlane::open_with(Arc::new(NoTelemetry), Limits::default(), routes).await;
    let mut client = RateLimitServiceClient::new(server.channel().await);
    let large = "x".repeat(300_000);
    let request = RateLimitRequest {
        domain: large.clone(),
        ..RateLimitRequest::default()
    };
    let answer = soon(client.should_rate_limit(request)).await.unwrap();
    assert_eq!(
        answer.into_inner().raw_body,
        format!("{large}127.0.0.1").into_bytes()
    );
    let refused = soon(client.should_rate_limit(RateLimitRequest::default())).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!(refused.message(), "which domain? 50 % of callers forget");
}

#[tokio::test]
async fn a_service_that_nobody_offers_is_unimplemented() {
    let server = TestControlPlane::open(Arc::new(NoTelemetry)).await;
    let mut client = RateLimitServiceClient::new(server.channel().await);
    let refused = soon(client.should_rate_limit(RateLimitRequest::default())).await;
    assert_eq!(refused.unwrap_err().code(), Code::Unimplemented);
}
