//! The client status discovery service: the ledger in Envoy's messages, for tools that read them.

mod config;
mod matcher;

use std::{fmt, pin::Pin, sync::Arc};

use async_trait::async_trait;
use envoy_types::pb::envoy::service::status::v3::{
    ClientStatusRequest, ClientStatusResponse,
    client_status_discovery_service_server::{
        ClientStatusDiscoveryService, ClientStatusDiscoveryServiceServer,
    },
};
use futures_util::{Stream, stream};
use prost::Message as _;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use self::matcher::Matcher;
use crate::{cache::SnapshotCache, fleet::Fleet, peer::Peer, refusal::Refusal};

/// Decides who may read the status of the fleet.
type Authorize = dyn Fn(&Peer) -> Result<(), Refusal> + Send + Sync;

/// Answers `envoy.service.status.v3.ClientStatusDiscoveryService` from the ledger.
///
/// The answer has a configuration per registered or connected node, with one entry per type that the
/// node subscribes to: its status, the last acknowledged version and its time, and the error message
/// of a NACK. Unless `exclude_resource_contents` is set, it has one entry per resource that the node
/// must have instead, with the resource itself. Secrets are named without their contents.
///
/// `node_matchers` may select a `node_id` by `exact`, `prefix`, `suffix` or `contains`; others are
/// refused.
#[derive(Clone)]
pub struct ClientStatus(Arc<Reader>);

struct Reader {
    fleet: Arc<Fleet>,
    cache: Arc<SnapshotCache>,
    authorize: Box<Authorize>,
    stop: CancellationToken,
}

impl ClientStatus {
    /// The maximal size of an answer, in bytes: the default limit of gRPC clients. A request with a
    /// larger answer is refused.
    pub const MAX_ANSWER: usize = 4 << 20;

    /// The service, for [`crate::XdsServer::with_routes`] or another server. A peer that `authorize`
    /// accepts can read what every node has; clients of the discovery services should not be
    /// accepted. Streams end at `stop`.
    pub fn service(
        fleet: Arc<Fleet>,
        cache: Arc<SnapshotCache>,
        authorize: impl Fn(&Peer) -> Result<(), Refusal> + Send + Sync + 'static,
        stop: CancellationToken,
    ) -> ClientStatusDiscoveryServiceServer<Self> {
        ClientStatusDiscoveryServiceServer::new(Self(Arc::new(Reader {
            fleet,
            cache,
            authorize: Box::new(authorize),
            stop,
        })))
    }
}

impl Reader {
    fn admit<T>(&self, request: &Request<T>) -> Result<(), Status> {
        let proven = request.extensions().get::<Peer>().cloned();
        let peer = proven.or_else(|| {
            let address = request.remote_addr()?;
            Some(Peer {
                address,
                identity: None,
            })
        });
        let peer = peer.ok_or_else(|| Status::internal("the connection has no address"))?;
        (self.authorize)(&peer).map_err(Status::from)
    }

    fn answer(&self, request: &ClientStatusRequest) -> Result<ClientStatusResponse, Status> {
        let matcher = Matcher::read(&request.node_matchers)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let mut response = ClientStatusResponse::default();
        let mut bytes = 0;
        for status in self.fleet.status_of(|id| matcher.matches(id.as_str())) {
            let group = status.group.as_ref();
            let group = group.filter(|_| !request.exclude_resource_contents);
            let snapshot = group.and_then(|group| self.cache.snapshot_of(group, &status.id));
            let left = ClientStatus::MAX_ANSWER - bytes;
            let config = config::of(&status, snapshot.as_ref(), left).ok_or_else(too_large)?;
            bytes += config.encoded_len() + FRAMING;
            if bytes > ClientStatus::MAX_ANSWER {
                return Err(too_large());
            }
            response.config.push(config);
        }
        Ok(response)
    }
}

impl fmt::Debug for ClientStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientStatus").finish_non_exhaustive()
    }
}

#[async_trait]
impl ClientStatusDiscoveryService for ClientStatus {
    type StreamClientStatusStream =
        Pin<Box<dyn Stream<Item = Result<ClientStatusResponse, Status>> + Send>>;

    /// One answer per request.
    async fn stream_client_status(
        &self,
        request: Request<Streaming<ClientStatusRequest>>,
    ) -> Result<Response<Self::StreamClientStatusStream>, Status> {
        self.0.admit(&request)?;
        let state = (Arc::clone(&self.0), request.into_inner());
        let answers = stream::try_unfold(state, |(own, mut requests)| async move {
            let request = tokio::select! {
                biased;
                () = own.stop.cancelled() => {
                    return Err(Status::unavailable("the server is stopping"));
                }
                request = requests.message() => request?,
            };
            let Some(request) = request else {
                return Ok(None);
            };
            let answer = own.answer(&request)?;
            Ok(Some((answer, (own, requests))))
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn fetch_client_status(
        &self,
        request: Request<ClientStatusRequest>,
    ) -> Result<Response<ClientStatusResponse>, Status> {
        self.0.admit(&request)?;
        Ok(Response::new(self.0.answer(request.get_ref())?))
    }
}

fn too_large() -> Status {
    Status::resource_exhausted(format!(
        "the answer would have more than {} bytes: ask for fewer nodes by node_matchers, or set \
         exclude_resource_contents",
        ClientStatus::MAX_ANSWER
    ))
}

/// The maximal overhead of a nested message: its field's key and its length.
const FRAMING: usize = 6;
