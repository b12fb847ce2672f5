//! The sockets: gRPC services round the pure parts.

mod ads;
mod session;
mod telemetry;
mod wire;

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use envoy_types::pb::envoy::service::{
    accesslog::v3::access_log_service_server::AccessLogServiceServer,
    discovery::v3::aggregated_discovery_service_server::AggregatedDiscoveryServiceServer,
    metrics::v3::metrics_service_server::MetricsServiceServer,
};
use tokio::{net::TcpListener, sync::Semaphore, time::sleep};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Server, server::TcpIncoming};
use tracing::{debug, info};

use self::{
    ads::{Ads, AdsService},
    telemetry::Telemetry,
};
#[cfg(feature = "tls")]
use crate::tls::{ServerTls, TlsIncoming};
use crate::{cache::SnapshotCache, fleet::Fleet, node::NodeDirectory, telemetry::TelemetrySink};

/// What clients may cost.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Discovery streams that are open at once; one more is refused with RESOURCE_EXHAUSTED.
    pub streams: usize,
    /// Telemetry streams that are open at once. Envoy opens one per worker and one for
    /// metrics.
    pub telemetry_streams: usize,
    /// Streams of any kind on one connection.
    pub streams_per_connection: u32,
    /// In bytes, of one message from a client. Envoy's node alone is about 61 kB.
    pub request_bytes: usize,
    /// Names that one stream subscribes to, by type.
    pub names: usize,
    /// How long an open stream may stay without its first request.
    pub first_request: Duration,
    /// How long [`NodeDirectory::admit`] may take.
    pub admission: Duration,
    /// How long a response may stay unanswered before its client counts as lagging. Envoy may
    /// withhold the ACK of a cluster for 15 s.
    pub answer: Duration,
    /// How long a connection may be silent before it is asked for a sign of life.
    pub keepalive_interval: Duration,
    /// How long the sign of life may take; then the connection is closed.
    pub keepalive_timeout: Duration,
    /// How long open streams may take to end when the server stops.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            streams: 20_000,
            telemetry_streams: 40_000,
            streams_per_connection: 64,
            request_bytes: 4 << 20,
            names: 1 << 16,
            first_request: Duration::from_secs(10),
            admission: Duration::from_secs(5),
            answer: Duration::from_secs(20),
            keepalive_interval: Duration::from_secs(10),
            keepalive_timeout: Duration::from_secs(5),
            drain: Duration::from_secs(5),
        }
    }
}

/// Serves snapshots to clients and collects what they answer.
#[derive(Debug)]
pub struct XdsServer {
    cache: Arc<SnapshotCache>,
    fleet: Arc<Fleet>,
    directory: Arc<dyn NodeDirectory>,
    telemetry: Arc<dyn TelemetrySink>,
    limits: Limits,
    #[cfg(feature = "tls")]
    tls: Option<Arc<ServerTls>>,
}

impl XdsServer {
    #[must_use]
    pub fn new(
        cache: Arc<SnapshotCache>,
        fleet: Arc<Fleet>,
        directory: Arc<dyn NodeDirectory>,
        telemetry: Arc<dyn TelemetrySink>,
        limits: Limits,
    ) -> Self {
        Self {
            cache,
            fleet,
            directory,
            telemetry,
            limits,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// Serves clients over mutual TLS only, and follows the changes of `tls`'s files.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn with_tls(self, tls: Arc<ServerTls>) -> Self {
        Self {
            tls: Some(tls),
            ..self
        }
    }

    /// Serves until `stop`: then no new stream is accepted, open ones end with UNAVAILABLE,
    /// and what has not ended after [`Limits::drain`] is left behind.
    ///
    /// # Errors
    /// [`ServeError`] if the transport fails; a client's failure ends its own streams alone.
    pub async fn serve(
        self,
        listener: TcpListener,
        stop: CancellationToken,
    ) -> Result<(), ServeError> {
        let Self {
            cache,
            fleet,
            directory,
            telemetry,
            limits,
            #[cfg(feature = "tls")]
            tls,
        } = self;
        let instance = instance();
        let (request_bytes, drain) = (limits.request_bytes, limits.drain);
        let mut transport = transport(&limits);
        let telemetry = Arc::new(Telemetry {
            sink: telemetry,
            directory: Arc::clone(&directory),
            streams: Arc::new(Semaphore::new(limits.telemetry_streams)),
            first_message: limits.first_request,
            stop: stop.clone(),
        });
        let ads = AdsService(Arc::new(Ads {
            cache,
            fleet,
            directory,
            instance: instance.as_str().into(),
            streams: Arc::new(Semaphore::new(limits.streams)),
            limits: Arc::new(limits),
            stop: stop.clone(),
        }));
        let access_log = AccessLogServiceServer::from_arc(Arc::clone(&telemetry));
        let router = transport
            .add_service(
                AggregatedDiscoveryServiceServer::new(ads).max_decoding_message_size(request_bytes),
            )
            .add_service(access_log.max_decoding_message_size(request_bytes))
            .add_service(
                MetricsServiceServer::from_arc(telemetry).max_decoding_message_size(request_bytes),
            );
        let stopped = stop.clone().cancelled_owned();
        #[cfg(feature = "tls")]
        let serving = async {
            let Some(tls) = tls else {
                return router
                    .serve_with_incoming_shutdown(plain(listener), stopped)
                    .await;
            };
            let incoming = TlsIncoming::new(listener, Arc::clone(&tls));
            tokio::select! {
                served = router.serve_with_incoming_shutdown(incoming, stopped) => served,
                never = tls.watch(ServerTls::WATCH) => match never {},
            }
        };
        #[cfg(not(feature = "tls"))]
        let serving = router.serve_with_incoming_shutdown(plain(listener), stopped);
        info!(%instance, "serving xDS");
        let overdue = async {
            stop.cancelled().await;
            sleep(drain).await;
        };
        tokio::select! {
            served = serving => served.map_err(ServeError),
            () = overdue => {
                debug!("clients keep their connections open: left behind");
                Ok(())
            }
        }
    }
}

fn transport(limits: &Limits) -> Server {
    Server::builder()
        .tcp_nodelay(true)
        .max_concurrent_streams(limits.streams_per_connection)
        .http2_keepalive_interval(Some(limits.keepalive_interval))
        .http2_keepalive_timeout(Some(limits.keepalive_timeout))
}

fn plain(listener: TcpListener) -> TcpIncoming {
    TcpIncoming::from(listener).with_nodelay(Some(true))
}

/// Why serving ended before it was told to.
#[derive(Debug, thiserror::Error)]
#[error("the transport for discovery streams failed")]
pub struct ServeError(#[source] tonic::transport::Error);

/// Names this start of this server: neither a restart nor a second server gives out a nonce
/// that this one gave out.
fn instance() -> String {
    let start = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    format!("{:x}.{:x}", start.as_nanos(), std::process::id())
}
