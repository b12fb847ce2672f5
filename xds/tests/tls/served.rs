//! Discovery over TLS.

use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use envoy_types::pb::envoy::{
    config::core::v3::Node,
    service::discovery::v3::{
        DeltaDiscoveryRequest,
        aggregated_discovery_service_client::AggregatedDiscoveryServiceClient,
    },
};
use pointsman_lab::ports::free_port;
use pointsman_xds::{
    Admission, Identity, Limits, NoTelemetry, NodeDescription, NodeDirectory, Peer, Refusal,
    Resource, ResourceType, ServerTls, XdsServer,
};
use tokio::time::{sleep, timeout};
use tonic::{
    Code, Status,
    transport::{Certificate, Channel, ClientTlsConfig, Identity as Shown},
};

use crate::{
    APP,
    authority::{Authority, Issued, write},
    control_plane::{ControlPlane, group},
};

/// Serves `app` alone, and remembers who came.
#[derive(Debug, Default)]
struct Doorman(Mutex<Vec<Identity>>);

#[async_trait]
impl NodeDirectory for Doorman {
    async fn admit(&self, node: &NodeDescription, peer: &Peer) -> Result<Admission, Refusal> {
        let identity = peer.identity.clone().unwrap();
        self.0.lock().unwrap().push(identity.clone());
        match identity.path() {
            "/app" => Ok(Admission::as_claimed(node, group())),
            _ => Err(Refusal::Denied(format!("{identity} is not served"))),
        }
    }
}

pub(crate) struct Served {
    doorman: Arc<Doorman>,
    pub(crate) tls: Arc<ServerTls>,
    pub(crate) control_plane: ControlPlane,
    pub(crate) servers: Authority,
    pub(crate) clients: Authority,
}

impl Served {
    pub(crate) async fn open(folder: &Path) -> Self {
        let (servers, clients) = (Authority::new("servers"), Authority::new("clients"));
        let files = write(folder, &servers.server(), &clients);
        let tls = Arc::new(ServerTls::load(files).await.unwrap());
        let doorman = Arc::new(Doorman::default());
        let control_plane = ControlPlane::over(free_port(), |cache, fleet| {
            let directory = Arc::clone(&doorman) as _;
            let limits = Limits::default();
            XdsServer::new(cache, fleet, directory, Arc::new(NoTelemetry), limits)
                .with_tls(Arc::clone(&tls))
        });
        let control_plane = control_plane.await;
        let cluster = Resource::new(ResourceType::Cluster, "writer", vec![1].into());
        control_plane.publish(vec![cluster]);
        Self {
            doorman,
            tls,
            control_plane,
            servers,
            clients,
        }
    }

    pub(crate) async fn ask(&self, certificate: Option<&Issued>) -> Result<String, Status> {
        let mut tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(self.servers.pem()))
            .domain_name("localhost");
        if let Some(shown) = certificate {
            tls = tls.identity(Shown::from_pem(&shown.certificate, &shown.key));
        }
        let channel =
            Channel::from_shared(format!("https://127.0.0.1:{}", self.control_plane.port))
                .unwrap()
                .tls_config(tls)
                .unwrap()
                .connect_lazy();
        let request = DeltaDiscoveryRequest {
            node: Some(Node {
                id: "sidecar".to_owned(),
                ..Node::default()
            }),
            type_url: ResourceType::Cluster.type_url().to_owned(),
            ..DeltaDiscoveryRequest::default()
        };
        let requests =
            tokio_stream::StreamExt::chain(tokio_stream::once(request), tokio_stream::pending());
        let mut client = AggregatedDiscoveryServiceClient::new(channel);
        let answer = async {
            let mut stream = client
                .delta_aggregated_resources(requests)
                .await?
                .into_inner();
            let response = stream.message().await?.unwrap();
            Ok(response.resources[0].name.clone())
        };
        timeout(PATIENCE, answer).await.unwrap()
    }
}

#[tokio::test]
async fn the_directory_learns_who_the_client_has_proven_to_be() {
    let folder = tempfile::tempdir().unwrap();
    let served = Served::open(folder.path()).await;
    let app = served.clients.client(APP);
    assert_eq!(served.ask(Some(&app)).await.unwrap(), "writer");
    let seen = served.doorman.0.lock().unwrap().clone();
    assert_eq!(seen, [Identity::new(APP).unwrap()]);
}

#[tokio::test]
async fn an_identity_that_is_not_served_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let served = Served::open(folder.path()).await;
    let other = served.clients.client("spiffe://example.org/other");
    let refusal = served.ask(Some(&other)).await.unwrap_err();
    assert_eq!(refusal.code(), Code::PermissionDenied);
}

#[tokio::test]
async fn an_unauthenticated_client_reaches_no_service() {
    let folder = tempfile::tempdir().unwrap();
    let served = Served::open(folder.path()).await;
    served.ask(None).await.unwrap_err();
    let stranger = Authority::new("clients").client(APP);
    served.ask(Some(&stranger)).await.unwrap_err();
    assert!(served.doorman.0.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_server_follows_its_files_while_it_serves() {
    let folder = tempfile::tempdir().unwrap();
    let served = Served::open(folder.path()).await;
    let app = served.clients.client(APP);
    assert_eq!(served.ask(Some(&app)).await.unwrap(), "writer");
    let next = Authority::new("next");
    std::fs::write(folder.path().join("clients.pem"), next.pem()).unwrap();
    let followed = async {
        while served.ask(Some(&app)).await.is_ok() {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, followed).await.unwrap();
    assert_eq!(served.ask(Some(&next.client(APP))).await.unwrap(), "writer");
}

pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
