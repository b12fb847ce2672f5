//! The client status discovery service: the ledger in Envoy's own words, for tools that know
//! them.

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
use crate::{cache::SnapshotCache, fleet::Fleet, node::PermissionDenied, peer::Peer};

/// Says who may read the state of the whole fleet.
type MayAsk = dyn Fn(&Peer) -> Result<(), PermissionDenied> + Send + Sync;

/// Answers `envoy.service.status.v3.ClientStatusDiscoveryService` from the ledger.
///
/// There is a configuration per node that is registered or connected, with one entry per type
/// that it subscribes to: its status, the version that it acknowledged last, when, and what it
/// said when it refused. Unless `exclude_resource_contents` is set, there is one entry per
/// resource of what the node must have instead, with the resource itself; secrets are named and
/// never shown. `node_matchers` may ask for a `node_id` by `exact`, `prefix`, `suffix` or
/// `contains`; others are refused.
#[derive(Clone)]
pub struct ClientStatus(Arc<Desk>);

struct Desk {
    fleet: Arc<Fleet>,
    cache: Arc<SnapshotCache>,
    may_ask: Box<MayAsk>,
    stop: CancellationToken,
}

impl ClientStatus {
    /// In bytes, of one answer; a larger one is refused. What a gRPC client takes by default.
    pub const MAX_ANSWER: usize = 4 << 20;

    /// The service, to be added to a server. Whoever `may_ask` learns what every node has:
    /// clients of the discovery services should not be among them. Streams end at `stop`.
    pub fn service(
        fleet: Arc<Fleet>,
        cache: Arc<SnapshotCache>,
        may_ask: impl Fn(&Peer) -> Result<(), PermissionDenied> + Send + Sync + 'static,
        stop: CancellationToken,
    ) -> ClientStatusDiscoveryServiceServer<Self> {
        ClientStatusDiscoveryServiceServer::new(Self(Arc::new(Desk {
            fleet,
            cache,
            may_ask: Box::new(may_ask),
            stop,
        })))
    }
}

impl Desk {
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
        (self.may_ask)(&peer).map_err(|refusal| Status::permission_denied(refusal.to_string()))
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

/// Of one message in another, at most: its field's tag and its length.
const FRAMING: usize = 6;
