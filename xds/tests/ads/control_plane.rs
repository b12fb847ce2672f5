//! A server with one group, and streams to it.

#[path = "../../examples/flip/resources.rs"]
#[expect(dead_code, reason = "the example is for Envoy")]
mod resources;

use std::{
    collections::BTreeMap,
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
    Convergence, Fleet, Group, Limits, NodeDescription, NodeDirectory, NodeId, Peer,
    PermissionDenied, Policy, Resource, Sequence, ServeError, Snapshot, SnapshotCache,
    TelemetrySink, XdsServer,
};
use tokio::{
    net::TcpListener,
    sync::mpsc,
    task::JoinSet,
    time::{Instant, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming, service::Routes, transport::Channel};

pub(crate) struct TestControlPlane {
    pub(crate) cache: Arc<SnapshotCache>,
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) stop: CancellationToken,
    pub(crate) serving: JoinSet<Result<(), ServeError>>,
    pub(crate) address: SocketAddr,
}

impl TestControlPlane {
    pub(crate) async fn open(telemetry: Arc<dyn TelemetrySink>) -> Self {
        Self::open_with(telemetry, Limits::default(), Routes::default()).await
    }

    pub(crate) async fn open_with(
        telemetry: Arc<dyn TelemetrySink>,
        limits: Limits,
        routes: Routes,
    ) -> Self {
        let cache = Arc::new(SnapshotCache::new());
        let fleet = Arc::new(Fleet::new(Arc::clone(&cache)));
        fleet.set_registered([NodeId::from("sidecar")]);
        let listener = listen().await;
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let server = XdsServer::new(
            Arc::clone(&cache),
            Arc::clone(&fleet),
            Arc::new(Directory),
            telemetry,
            limits,
        )
        .with_routes(routes);
        let mut tasks = JoinSet::new();
        tasks.spawn(server.serve(listener, stop.clone()));
        Self {
            cache,
            fleet,
            stop,
            serving: tasks,
            address,
        }
    }

    /// One cluster, `writer`, with an endpoint at this port.
    pub(crate) fn publish(&self, port: u32) -> Sequence {
        let snapshot = Snapshot::builder()
            .insert(cluster("writer"))
            .insert(assignment("writer", port))
            .build()
            .unwrap();
        self.cache
            .publish(BTreeMap::from([(Group::new("all"), snapshot)]))
    }

    pub(crate) async fn converge(&self, sequence: Sequence) -> Convergence {
        let deadline = Instant::now() + PATIENCE;
        self.fleet
            .converge(sequence, Policy::AllRegistered, deadline)
            .await
    }

    pub(crate) async fn channel(&self) -> Channel {
        let endpoint = Channel::from_shared(format!("http://{}", self.address)).unwrap();
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
    async fn admit(&self, node: &NodeDescription, _peer: &Peer) -> Result<Group, PermissionDenied> {
        if node.cluster == "unwanted" {
            return Err(PermissionDenied(format!("{} is not wanted here", node.id)));
        }
        if node.cluster == "undecided" {
            std::future::pending::<()>().await;
        }
        Ok(Group::new("all"))
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
