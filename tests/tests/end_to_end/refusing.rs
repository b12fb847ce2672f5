//! A sidecar that is no Envoy: it takes what it is sent, and refuses when it is told to.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::Result;
use envoy_types::pb::{
    envoy::{
        config::core::v3::Node,
        service::discovery::v3::{
            DeltaDiscoveryRequest,
            aggregated_discovery_service_client::AggregatedDiscoveryServiceClient,
        },
    },
    google::rpc::Status,
};
use tokio::{sync::mpsc, task::JoinSet};
use tokio_stream::wrappers::UnboundedReceiverStream;

pub(crate) struct Refusing {
    refuses: Arc<AtomicBool>,
    _task: JoinSet<Result<()>>,
}

impl Refusing {
    /// Connects as node `id`, and asks for all that exists for it.
    pub(crate) async fn connect(id: &str, xds: SocketAddr) -> Result<Self> {
        let (requests, sent) = mpsc::unbounded_channel();
        for kind in TYPES {
            requests.send(DeltaDiscoveryRequest {
                node: Some(Node {
                    id: id.to_owned(),
                    ..Node::default()
                }),
                type_url: kind.to_owned(),
                resource_names_subscribe: vec!["*".to_owned()],
                ..DeltaDiscoveryRequest::default()
            })?;
        }
        let client = AggregatedDiscoveryServiceClient::connect(format!("http://{xds}"));
        let mut client = client.await?;
        let responses = client.delta_aggregated_resources(UnboundedReceiverStream::new(sent));
        let mut responses = responses.await?.into_inner();
        let refuses = Arc::new(AtomicBool::default());
        let told = Arc::clone(&refuses);
        let mut task = JoinSet::new();
        task.spawn(async move {
            while let Some(response) = responses.message().await? {
                let refusal = Status {
                    message: WORDS.to_owned(),
                    ..Status::default()
                };
                requests.send(DeltaDiscoveryRequest {
                    type_url: response.type_url,
                    response_nonce: response.nonce,
                    error_detail: told.load(Ordering::SeqCst).then_some(refusal),
                    ..DeltaDiscoveryRequest::default()
                })?;
            }
            Ok(())
        });
        Ok(Self {
            refuses,
            _task: task,
        })
    }

    /// From now on it refuses every response.
    pub(crate) fn refuse(&self) {
        self.refuses.store(true, Ordering::SeqCst);
    }
}

/// Why it refuses.
pub(crate) const WORDS: &str = "malformed";

const TYPES: [&str; 4] = [
    "type.googleapis.com/envoy.config.cluster.v3.Cluster",
    "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
    "type.googleapis.com/envoy.config.listener.v3.Listener",
    "type.googleapis.com/envoy.service.runtime.v3.Runtime",
];
