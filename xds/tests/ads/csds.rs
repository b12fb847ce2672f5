//! The client status discovery service.

use std::sync::Arc;

use envoy_types::pb::envoy::{
    admin::v3::ClientResourceStatus,
    service::status::v3::{
        ClientConfig, ClientStatusRequest, ConfigStatus, client_config::GenericXdsConfig,
        client_status_discovery_service_client::ClientStatusDiscoveryServiceClient,
    },
    r#type::matcher::v3::{NodeMatcher, StringMatcher, string_matcher::MatchPattern},
};
use envoy_types::pb::google::rpc;
use pointsman_xds::{ClientStatus, NoTelemetry, NodeId, Peer, Refusal, ResourceType};
use tokio::{sync::mpsc, task::JoinSet};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{
    Code,
    transport::{Channel, Server},
};

use crate::{
    control_plane::{TestControlPlane, listen, soon},
    delta::{ack, open, subscribe},
};

/// The service on a listener of its own.
struct Desk {
    client: ClientStatusDiscoveryServiceClient<Channel>,
    _server: JoinSet<Result<(), tonic::transport::Error>>,
}

impl Desk {
    async fn open(
        server: &TestControlPlane,
        may_ask: impl Fn(&Peer) -> Result<(), Refusal> + Send + Sync + 'static,
    ) -> Self {
        let (fleet, cache) = (Arc::clone(&server.fleet), Arc::clone(&server.cache));
        let service = ClientStatus::service(fleet, cache, may_ask, server.stop.clone());
        let listener = listen().await;
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        let incoming = TcpListenerStream::new(listener);
        tasks.spawn(
            Server::builder()
                .add_service(service)
                .serve_with_incoming(incoming),
        );
        let endpoint = Channel::from_shared(format!("http://{address}")).unwrap();
        let channel = soon(endpoint.connect()).await.unwrap();
        Self {
            client: ClientStatusDiscoveryServiceClient::new(channel),
            _server: tasks,
        }
    }

    async fn ask(&mut self, request: ClientStatusRequest) -> Vec<ClientConfig> {
        let answer = soon(self.client.fetch_client_status(request)).await;
        answer.unwrap().into_inner().config
    }

    async fn code(&mut self, request: ClientStatusRequest) -> (Code, String) {
        let answer = soon(self.client.fetch_client_status(request)).await;
        let status = answer.unwrap_err();
        (status.code(), status.message().to_owned())
    }
}

fn without_contents() -> ClientStatusRequest {
    ClientStatusRequest {
        exclude_resource_contents: true,
        ..ClientStatusRequest::default()
    }
}

fn by_id(pattern: MatchPattern) -> ClientStatusRequest {
    ClientStatusRequest {
        node_matchers: vec![NodeMatcher {
            node_id: Some(StringMatcher {
                match_pattern: Some(pattern),
                ..StringMatcher::default()
            }),
            ..NodeMatcher::default()
        }],
        ..without_contents()
    }
}

fn id(config: &ClientConfig) -> &str {
    &config.node.as_ref().unwrap().id
}

fn of(config: &ClientConfig, kind: ResourceType) -> &GenericXdsConfig {
    let mut entries = config.generic_xds_configs.iter();
    entries
        .find(|entry| entry.type_url == kind.type_url())
        .unwrap()
}

#[tokio::test]
async fn a_node_is_shown_with_what_it_accepted_refused_and_waits_for() {
    let server = TestControlPlane::open(Arc::new(NoTelemetry)).await;
    server.publish_writer(0);
    server
        .fleet
        .set_registered(["sidecar", "away"].map(NodeId::from));
    let mut desk = Desk::open(&server, |_peer| Ok(())).await;
    let mut stream = open(&server).await;
    stream.send(subscribe(ResourceType::Cluster, &[])).await;
    let clusters = stream.receive().await;
    stream
        .send(subscribe(ResourceType::Endpoints, &["writer"]))
        .await;
    let endpoints = stream.receive().await;
    stream.send(ack(&clusters)).await;
    let mut refusal = ack(&endpoints);
    refusal.error_detail = Some(rpc::Status {
        message: "no such host".to_owned(),
        ..rpc::Status::default()
    });
    stream.send(refusal).await;
    let mut changes = server.fleet.watch();
    let settled = changes.wait_for(|_| server.fleet.status()[1].nacks == 1);
    soon(settled).await.unwrap();

    let configs = desk.ask(without_contents()).await;
    assert_eq!(
        configs.iter().map(id).collect::<Vec<_>>(),
        ["away", "sidecar"]
    );
    assert!(configs[0].generic_xds_configs.is_empty());
    let accepted = of(&configs[1], ResourceType::Cluster);
    assert_eq!(accepted.config_status(), ConfigStatus::Synced);
    assert_eq!(accepted.client_status(), ClientResourceStatus::Acked);
    assert!(accepted.last_updated.is_some() && !accepted.version_info.is_empty());
    assert!(accepted.error_state.is_none() && accepted.xds_config.is_none());
    let refused = of(&configs[1], ResourceType::Endpoints);
    assert_eq!(refused.config_status(), ConfigStatus::Error);
    assert_eq!(refused.client_status(), ClientResourceStatus::Nacked);
    let error = refused.error_state.as_ref().unwrap();
    assert_eq!(error.details, "no such host");
    assert!(error.last_update_attempt.is_some());

    // The next publish is sent and not answered.
    server.publish_writer(1);
    stream.receive().await;
    let configs = desk.ask(without_contents()).await;
    let waiting = of(&configs[1], ResourceType::Endpoints);
    assert_eq!(waiting.config_status(), ConfigStatus::Stale);

    let configs = desk.ask(ClientStatusRequest::default()).await;
    let cluster = of(&configs[1], ResourceType::Cluster);
    assert_eq!(cluster.name, "writer");
    let shown = cluster.xds_config.as_ref().unwrap();
    assert_eq!(shown.type_url, ResourceType::Cluster.type_url());
    assert!(!shown.value.is_empty());
}

#[tokio::test]
async fn nodes_are_asked_for_by_id() {
    let server = TestControlPlane::open(Arc::new(NoTelemetry)).await;
    server
        .fleet
        .set_registered(["app-1", "app-2", "web-1"].map(NodeId::from));
    let mut desk = Desk::open(&server, |_peer| Ok(())).await;
    for (pattern, expected) in [
        (MatchPattern::Exact("app-2".to_owned()), &["app-2"][..]),
        (MatchPattern::Prefix("app-".to_owned()), &["app-1", "app-2"]),
        (MatchPattern::Suffix("-1".to_owned()), &["app-1", "web-1"]),
    ] {
        let configs = desk.ask(by_id(pattern)).await;
        assert_eq!(configs.iter().map(id).collect::<Vec<_>>(), expected);
    }
    let (code, message) = desk
        .code(by_id(MatchPattern::SafeRegex(Default::default())))
        .await;
    assert_eq!(code, Code::InvalidArgument);
    assert!(message.contains("safe_regex"), "{message}");
}

#[tokio::test]
async fn an_unauthorized_peer_gets_no_status() {
    let server = TestControlPlane::open(Arc::new(NoTelemetry)).await;
    let refuse = |peer: &Peer| {
        Err(Refusal::Denied(format!(
            "{} is no operator",
            peer.address.ip()
        )))
    };
    let mut desk = Desk::open(&server, refuse).await;
    let (code, message) = desk.code(without_contents()).await;
    assert_eq!(code, Code::PermissionDenied);
    assert_eq!(message, "127.0.0.1 is no operator");
    let (_requests, stream) = mpsc::channel(1);
    let streamed = desk
        .client
        .stream_client_status(ReceiverStream::new(stream));
    assert_eq!(
        soon(streamed).await.unwrap_err().code(),
        Code::PermissionDenied
    );
}

#[tokio::test]
async fn a_stream_answers_each_request_and_ends_with_the_server() {
    let server = TestControlPlane::open(Arc::new(NoTelemetry)).await;
    let mut desk = Desk::open(&server, |_peer| Ok(())).await;
    let (requests, stream) = mpsc::channel(1);
    requests.send(without_contents()).await.unwrap();
    let answers = desk
        .client
        .stream_client_status(ReceiverStream::new(stream));
    let mut answers = soon(answers).await.unwrap().into_inner();
    let first = soon(answers.message()).await.unwrap().unwrap();
    assert_eq!(id(&first.config[0]), "sidecar");
    server.fleet.set_registered(["another".into()]);
    requests.send(without_contents()).await.unwrap();
    let second = soon(answers.message()).await.unwrap().unwrap();
    assert_eq!(id(&second.config[0]), "another");
    server.stop.cancel();
    let end = soon(answers.message()).await.unwrap_err();
    assert_eq!(end.code(), Code::Unavailable);
}

#[tokio::test]
async fn an_answer_that_would_be_too_large_is_refused() {
    let server = TestControlPlane::open(Arc::new(NoTelemetry)).await;
    let long = "x".repeat(200);
    let ids = (0..25_000).map(|at| NodeId::new(format!("{long}-{at}")));
    server.fleet.set_registered(ids);
    let mut desk = Desk::open(&server, |_peer| Ok(())).await;
    let (code, message) = desk.code(without_contents()).await;
    assert_eq!(code, Code::ResourceExhausted);
    assert!(message.contains("node_matchers"), "{message}");
    let some = by_id(MatchPattern::Suffix("-24999".to_owned()));
    assert_eq!(desk.ask(some).await.len(), 1);
}
