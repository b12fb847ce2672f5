use std::{pin::Pin, sync::Arc};

use async_trait::async_trait;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
    aggregated_discovery_service_server::AggregatedDiscoveryService,
};
use futures_util::Stream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::{
    Limits, session,
    wire::{Delta, StateOfTheWorld},
};
use crate::{cache::SnapshotCache, fleet::Fleet, node::NodeDirectory, peer::Peer};

/// The aggregated discovery service.
#[derive(Debug)]
pub(super) struct AdsService(pub(super) Arc<Ads>);

/// What every discovery stream shares.
#[derive(Debug)]
pub(super) struct Ads {
    pub(super) cache: Arc<SnapshotCache>,
    pub(super) fleet: Arc<Fleet>,
    pub(super) directory: Arc<dyn NodeDirectory>,
    pub(super) instance: Arc<str>,
    pub(super) streams: Arc<Semaphore>,
    pub(super) limits: Arc<Limits>,
    pub(super) stop: CancellationToken,
}

type Responses<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[async_trait]
impl AggregatedDiscoveryService for AdsService {
    type StreamAggregatedResourcesStream = Responses<DiscoveryResponse>;
    type DeltaAggregatedResourcesStream = Responses<DeltaDiscoveryResponse>;

    async fn stream_aggregated_resources(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        let permit = self.0.permit()?;
        let ads = Arc::clone(&self.0);
        let peer = peer(&request)?;
        let responses =
            session::responses::<StateOfTheWorld>(ads, request.into_inner(), peer, permit);
        Ok(Response::new(Box::pin(responses)))
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        let permit = self.0.permit()?;
        let ads = Arc::clone(&self.0);
        let peer = peer(&request)?;
        let responses = session::responses::<Delta>(ads, request.into_inner(), peer, permit);
        Ok(Response::new(Box::pin(responses)))
    }
}

impl Ads {
    fn permit(&self) -> Result<OwnedSemaphorePermit, Status> {
        if self.stop.is_cancelled() {
            return Err(Status::unavailable("the server is stopping"));
        }
        Arc::clone(&self.streams)
            .try_acquire_owned()
            .map_err(|_| Status::resource_exhausted("too many discovery streams are open"))
    }
}

/// Of TLS, where there is any; a connection without it proves an address and no more.
pub(super) fn peer<T>(request: &Request<T>) -> Result<Peer, Status> {
    if let Some(proven) = request.extensions().get::<Peer>() {
        return Ok(proven.clone());
    }
    let address = request
        .remote_addr()
        .ok_or_else(|| Status::internal("the connection has no address"))?;
    Ok(Peer {
        address,
        identity: None,
    })
}
