//! A server with one group, and streams to it.

#[path = "../../examples/flip/resources.rs"]
#[expect(dead_code, reason = "the example is for Envoy")]
mod resources;
#[path = "../envoy/control_plane.rs"]
#[expect(dead_code, reason = "made for Envoy's tests, too")]
mod served;

use std::{
    future::Future,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use envoy_types::pb::envoy::{
    config::core::v3::Node,
    service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient,
};
use pointsman_lab::ports::free_port;
use pointsman_xds::{
    Admission, Limits, NodeDescription, NodeDirectory, NodeId, Peer, Refusal, Resource, Sequence,
    TelemetrySink, XdsServer,
};
use tokio::{net::TcpListener, sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming, service::Routes, transport::Channel};

pub(crate) use self::served::ControlPlane as TestControlPlane;

impl TestControlPlane {
    pub(crate) async fn open(telemetry: Arc<dyn TelemetrySink>) -> Self {
        Self::open_with(telemetry, Limits::default(), Routes::default()).await
    }

    pub(crate) async fn open_with(
        telemetry: Arc<dyn TelemetrySink>,
        limits: Limits,
        routes: Routes,
    ) -> Self {
        let served = Self::over(free_port(), |cache, fleet| {
            XdsServer::new(cache, fleet, Arc::new(Directory), telemetry, limits).with_routes(routes)
        });
        let served = served.await;
        served.fleet.set_registered([NodeId::from("sidecar")]);
        served
    }

    /// One cluster, `writer`, with an endpoint at this port.
    pub(crate) fn publish_writer(&self, port: u32) -> Sequence {
        self.publish(vec![cluster("writer"), assignment("writer", port)])
    }

    pub(crate) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    pub(crate) async fn channel(&self) -> Channel {
        let endpoint = Channel::from_shared(format!("http://{}", self.address())).unwrap();
        soon(endpoint.connect()).await.unwrap()
    }

    pub(crate) async fn client(&self) -> AggregatedDiscoveryServiceClient<Channel> {
        AggregatedDiscoveryServiceClient::new(self.channel().await)
    }
}

/// One open stream.
pub(crate) struct Stream<Request, Response> {
    requests: mpsc::Sender<Request>,
    responses: Streaming<Response>,
}

impl<Request, Response> Stream<Request, Response> {
    pub(crate) fn requests() -> (mpsc::Sender<Request>, ReceiverStream<Request>) {
        let (requests, stream) = mpsc::channel(16);
        (requests, ReceiverStream::new(stream))
    }

    pub(crate) fn new(requests: mpsc::Sender<Request>, responses: Streaming<Response>) -> Self {
        Self {
            requests,
            responses,
        }
    }

    pub(crate) async fn send(&self, request: Request) {
        self.requests.send(request).await.unwrap();
    }

    pub(crate) async fn receive(&mut self) -> Response {
        let message = soon(self.responses.message()).await;
        message.unwrap().expect("the stream has ended")
    }

    pub(crate) async fn failure(&mut self) -> Status {
        match soon(self.responses.message()).await {
            Err(status) => status,
            Ok(_) => panic!("the stream goes on"),
        }
    }
}

#[derive(Debug)]
struct Directory;

#[async_trait]
impl NodeDirectory for Directory {
    async fn admit(&self, node: &NodeDescription, _peer: &Peer) -> Result<Admission, Refusal> {
        if node.cluster == "unwanted" {
            return Err(Refusal::Denied(format!("{} is not wanted here", node.id)));
        }
        if node.cluster == "early" {
            return Err(Refusal::Unavailable(format!("{} comes too early", node.id)));
        }
        if node.cluster == "undecided" {
            std::future::pending::<()>().await;
        }
        Ok(Admission::as_claimed(node, served::group()))
    }
}

pub(crate) fn node() -> Option<Node> {
    Some(Node {
        id: "sidecar".to_owned(),
        ..Default::default()
    })
}

pub(crate) fn cluster(name: &str) -> Resource {
    resources::cluster(name, Duration::from_secs(1))
}

pub(crate) fn assignment(name: &str, port: u32) -> Resource {
    resources::endpoints(name, port)
}

/// # Panics
/// If it takes longer than anything here may.
pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    timeout(PATIENCE, future).await.expect("took too long")
}

/// A listener at a port of its own.
pub(crate) async fn listen() -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, free_port()))
        .await
        .unwrap()
}

const PATIENCE: Duration = Duration::from_secs(20);
