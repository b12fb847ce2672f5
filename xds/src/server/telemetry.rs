//! Receivers for Envoy's access-log and metrics streams. They answer nothing until the client
//! ends the stream, which Envoy never does.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use envoy_types::pb::envoy::{
    config::core::v3::Node,
    service::{
        accesslog::v3::{
            StreamAccessLogsMessage, StreamAccessLogsResponse,
            access_log_service_server::AccessLogService, stream_access_logs_message::LogEntries,
        },
        metrics::v3::{
            StreamMetricsMessage, StreamMetricsResponse, metrics_service_server::MetricsService,
        },
    },
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use crate::{
    node::{NodeDescription, NodeDirectory, NodeId},
    peer::Peer,
    telemetry::TelemetrySink,
};

#[derive(Debug)]
pub(super) struct Telemetry {
    pub(super) sink: Arc<dyn TelemetrySink>,
    pub(super) directory: Arc<dyn NodeDirectory>,
    pub(super) streams: Arc<Semaphore>,
    /// How long a stream may stay without its first message.
    pub(super) first_message: Duration,
    pub(super) stop: CancellationToken,
}

#[async_trait]
impl AccessLogService for Telemetry {
    async fn stream_access_logs(
        &self,
        request: Request<Streaming<StreamAccessLogsMessage>>,
    ) -> Result<Response<StreamAccessLogsResponse>, Status> {
        let peer = peer(&request)?;
        let mut stream = self.open(request)?;
        let Some(mut message) = stream.first(self.first_message).await? else {
            return Ok(Response::new(StreamAccessLogsResponse {}));
        };
        let node = message
            .identifier
            .take()
            .and_then(|identifier| identifier.node);
        let reporter = self.reporter(node, &peer)?;
        loop {
            if let Some(LogEntries::TcpLogs(entries)) = message.log_entries {
                for entry in entries.log_entry {
                    self.sink.access_log(&reporter.node, entry.into());
                }
            }
            match stream.next().await? {
                Some(next) => message = next,
                None => return Ok(Response::new(StreamAccessLogsResponse {})),
            }
        }
    }
}

#[async_trait]
impl MetricsService for Telemetry {
    async fn stream_metrics(
        &self,
        request: Request<Streaming<StreamMetricsMessage>>,
    ) -> Result<Response<StreamMetricsResponse>, Status> {
        let peer = peer(&request)?;
        let mut stream = self.open(request)?;
        let Some(mut message) = stream.first(self.first_message).await? else {
            return Ok(Response::new(StreamMetricsResponse {}));
        };
        let node = message
            .identifier
            .take()
            .and_then(|identifier| identifier.node);
        let reporter = self.reporter(node, &peer)?;
        loop {
            let families = message.envoy_metrics.into_iter();
            self.sink
                .metrics(&reporter.node, families.map(Into::into).collect());
            match stream.next().await? {
                Some(next) => message = next,
                None => return Ok(Response::new(StreamMetricsResponse {})),
            }
        }
    }
}

impl Telemetry {
    fn open<M>(&self, request: Request<Streaming<M>>) -> Result<Inbound<M>, Status> {
        let permit = Arc::clone(&self.streams)
            .try_acquire_owned()
            .map_err(|_| Status::resource_exhausted("too many telemetry streams are open"))?;
        Ok(Inbound {
            messages: request.into_inner(),
            stop: self.stop.clone(),
            _permit: permit,
        })
    }

    fn reporter(&self, node: Option<Node>, peer: &Peer) -> Result<Reporter, Status> {
        let node = NodeDescription::read(node.unwrap_or_default())
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        self.directory
            .may_report(&node.id, peer)
            .map_err(|refusal| Status::permission_denied(refusal.to_string()))?;
        Ok(Reporter {
            node: node.id,
            sink: Arc::clone(&self.sink),
        })
    }
}

/// Whose connection the request came on.
fn peer<T>(request: &Request<T>) -> Result<Peer, Status> {
    let peer = request.extensions().get::<Peer>().cloned();
    peer.ok_or_else(|| Status::internal("the connection has no peer"))
}

struct Inbound<M> {
    messages: Streaming<M>,
    stop: CancellationToken,
    _permit: OwnedSemaphorePermit,
}

impl<M> Inbound<M> {
    async fn first(&mut self, patience: Duration) -> Result<Option<M>, Status> {
        timeout(patience, self.next())
            .await
            .map_err(|_| Status::deadline_exceeded("no first message came"))?
    }

    async fn next(&mut self) -> Result<Option<M>, Status> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(Status::unavailable("the server is stopping")),
            message = self.messages.message() => message,
        }
    }
}

/// Says, however the stream ends, that it has.
struct Reporter {
    node: NodeId,
    sink: Arc<dyn TelemetrySink>,
}

impl Drop for Reporter {
    fn drop(&mut self) {
        self.sink.closed(&self.node);
    }
}
