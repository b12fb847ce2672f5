//! One delta stream of the aggregated discovery service.

use std::{collections::BTreeSet, fmt, net::IpAddr, sync::Arc, time::Duration};

use envoy_types::pb::{
    envoy::{
        config::core::v3::{self as core, node::UserAgentVersionType},
        service::discovery::v3::{
            DeltaDiscoveryRequest, DeltaDiscoveryResponse,
            aggregated_discovery_service_client::AggregatedDiscoveryServiceClient,
        },
    },
    google::protobuf::{Struct, Value, value::Kind},
};
use pointsman_envoy_config::{CACHE_USER_AGENT, LISTEN_METADATA, NODE_CLUSTER, RUNTIME_LAYER};
use pointsman_xds::ResourceType;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until, timeout_at},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming, transport::Channel};

use super::super::{
    contact::Moment,
    keeper::News,
    kept::{KeepError, Kept},
};

/// The sidecar whose configuration is asked for.
#[derive(Clone, Debug)]
pub(in crate::sidecar_cache) struct Node {
    /// Envoy's node.id.
    pub(in crate::sidecar_cache) id: String,
    pub(in crate::sidecar_cache) listen: IpAddr,
}

/// How a stream ended, for people.
#[derive(Debug)]
pub(super) enum Ending {
    /// After everything had come.
    AfterService(String),
    BeforeService(String),
    /// It answers, and nothing may be kept.
    Withdrawn(String),
}

/// Follows what the node is to have, and tells of each change and of each refresh.
pub(super) async fn follow(
    channel: Channel,
    node: &Node,
    refresh: Duration,
    news: &mpsc::Sender<News>,
) -> Ending {
    let (requests, sent) = mpsc::channel(REQUESTS);
    let mut following = Following {
        requests,
        kept: Kept::default(),
        seen: BTreeSet::new(),
        asked: Moment::now(),
        refresh: Refresh::answered(refresh),
    };
    let ended = async {
        for kind in KEPT {
            following.send(node.subscription(kind)).await?;
        }
        let mut client =
            AggregatedDiscoveryServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE);
        let opening = client.delta_aggregated_resources(ReceiverStream::new(sent));
        let opened = timeout_at(Instant::now() + ANSWER, opening).await;
        let mut responses = opened.map_err(|_| Ended::Silent)??.into_inner();
        following.run(&mut responses, refresh, news).await
    };
    let Err(ended) = ended.await;
    let served = following.is_complete();
    ended.into_ending(served)
}

struct Following {
    requests: mpsc::Sender<DeltaDiscoveryRequest>,
    kept: Kept,
    seen: BTreeSet<ResourceType>,
    /// When the control plane was asked that has answered since.
    asked: Moment,
    refresh: Refresh,
}

/// Whether the control plane is being asked if all is as it was.
enum Refresh {
    Answered { next: Instant },
    Asked { at: Moment, until: Instant },
}

impl Following {
    async fn run(
        &mut self,
        responses: &mut Streaming<DeltaDiscoveryResponse>,
        refresh: Duration,
        news: &mpsc::Sender<News>,
    ) -> Result<std::convert::Infallible, Ended> {
        let complete_by = Instant::now() + ANSWER;
        loop {
            let due = match (&self.refresh, self.is_complete()) {
                (_, false) => complete_by,
                (Refresh::Answered { next }, true) => *next,
                (Refresh::Asked { until, .. }, true) => *until,
            };
            tokio::select! {
                message = responses.message() => {
                    let response = message?.ok_or(Ended::Closed)?;
                    self.take(response, refresh).await?;
                    if self.is_complete() {
                        let current = News::Current {
                            kept: Arc::new(self.kept.clone()),
                            asked: self.asked,
                        };
                        news.send(current).await.map_err(|_| Ended::Closed)?;
                    }
                }
                () = sleep_until(due) => match self.refresh {
                    Refresh::Answered { .. } if self.is_complete() => self.ask().await?,
                    Refresh::Answered { .. } | Refresh::Asked { .. } => return Err(Ended::Silent),
                },
            }
        }
    }

    async fn take(
        &mut self,
        response: DeltaDiscoveryResponse,
        refresh: Duration,
    ) -> Result<(), Ended> {
        let answer = DeltaDiscoveryRequest {
            type_url: response.type_url.clone(),
            response_nonce: response.nonce.clone(),
            ..DeltaDiscoveryRequest::default()
        };
        let kind = self.kept.apply(response)?;
        self.seen.insert(kind);
        if let Refresh::Asked { at, .. } = self.refresh
            && kind == ResourceType::Runtime
        {
            self.asked = at;
            self.refresh = Refresh::answered(refresh);
        }
        self.send(answer).await
    }

    /// Subscribes again to a name, which is always answered: the answer shows that the control plane
    /// still serves this stream, which an open connection does not.
    async fn ask(&mut self) -> Result<(), Ended> {
        self.refresh = Refresh::Asked {
            at: Moment::now(),
            until: Instant::now() + ANSWER,
        };
        self.send(DeltaDiscoveryRequest {
            type_url: ResourceType::Runtime.type_url().to_owned(),
            resource_names_subscribe: vec![RUNTIME_LAYER.to_owned()],
            ..DeltaDiscoveryRequest::default()
        })
        .await
    }

    async fn send(&self, request: DeltaDiscoveryRequest) -> Result<(), Ended> {
        let sending = self.requests.send(request);
        let sent = timeout_at(Instant::now() + ANSWER, sending).await;
        sent.map_err(|_| Ended::Silent)?.map_err(|_| Ended::Closed)
    }

    /// Whether a response of every type has come: the first one of each has everything of it.
    fn is_complete(&self) -> bool {
        self.seen.len() == KEPT.len()
    }
}

impl Refresh {
    fn answered(again: Duration) -> Self {
        Self::Answered {
            next: Instant::now() + again,
        }
    }
}

impl Node {
    /// Asks for everything of a type, as who it is asked for.
    fn subscription(&self, kind: ResourceType) -> DeltaDiscoveryRequest {
        let listen = Value {
            kind: Some(Kind::StringValue(self.listen.to_string())),
        };
        let node = core::Node {
            id: self.id.clone(),
            cluster: NODE_CLUSTER.to_owned(),
            metadata: Some(Struct {
                fields: [(LISTEN_METADATA.to_owned(), listen)].into(),
            }),
            user_agent_name: CACHE_USER_AGENT.to_owned(),
            user_agent_version_type: Some(UserAgentVersionType::UserAgentVersion(
                env!("CARGO_PKG_VERSION").to_owned(),
            )),
            ..core::Node::default()
        };
        DeltaDiscoveryRequest {
            node: Some(node),
            type_url: kind.type_url().to_owned(),
            resource_names_subscribe: vec!["*".to_owned()],
            ..DeltaDiscoveryRequest::default()
        }
    }
}

/// Why a stream ended.
enum Ended {
    Closed,
    Silent,
    Refused(Box<Status>),
    NotKept(KeepError),
}

impl Ended {
    fn into_ending(self, served: bool) -> Ending {
        let reason = match self {
            Self::NotKept(error) => return Ending::Withdrawn(error.to_string()),
            Self::Refused(status) if status.code() == Code::PermissionDenied => {
                return Ending::Withdrawn(status.message().to_owned());
            }
            // A message that is larger than is taken.
            Self::Refused(status) if status.code() == Code::OutOfRange => {
                return Ending::Withdrawn(KeepError::Large.to_string());
            }
            Self::Refused(status) => status.message().to_owned(),
            Self::Closed => "it has closed the stream".to_owned(),
            Self::Silent => format!("it did not answer within {} s", ANSWER.as_secs()),
        };
        match served {
            true => Ending::AfterService(reason),
            false => Ending::BeforeService(reason),
        }
    }
}

impl From<Status> for Ended {
    fn from(status: Status) -> Self {
        Self::Refused(Box::new(status))
    }
}

impl From<KeepError> for Ended {
    fn from(error: KeepError) -> Self {
        Self::NotKept(error)
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AfterService(reason) => write!(f, "the control plane's stream ended: {reason}"),
            Self::BeforeService(reason) => write!(f, "the control plane does not serve: {reason}"),
            Self::Withdrawn(reason) => {
                write!(
                    f,
                    "nothing may be kept of what the control plane says: {reason}"
                )
            }
        }
    }
}

/// The types that a sidecar asks for.
const KEPT: [ResourceType; 4] = [
    ResourceType::Cluster,
    ResourceType::Endpoints,
    ResourceType::Listener,
    ResourceType::Runtime,
];

/// How long the control plane may take to answer, and to send everything.
const ANSWER: Duration = Duration::from_secs(10);
/// Requests that wait to be sent.
const REQUESTS: usize = 16;
/// In bytes.
const MAX_MESSAGE: usize = 2 * Kept::MAX_BYTES;
