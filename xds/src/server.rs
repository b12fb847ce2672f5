//! The gRPC services and their connections.

mod accept;
mod ads;
mod bridge;
#[cfg(feature = "csds")]
mod csds;
mod discovery;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod grpc;
mod limits;
mod methods;
mod missing_resources;
mod services;
mod session;
mod telemetry;
mod wire;

use std::{
    io,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::{
    net::{TcpListener, UnixListener},
    sync::Semaphore,
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tracing::{debug, info};

#[cfg(feature = "csds")]
pub use self::csds::ClientStatus;
pub use self::limits::Limits;
use self::{
    accept::{Front, Listener},
    ads::Ads,
    telemetry::Telemetry,
};
#[cfg(feature = "tls")]
use crate::tls::ServerTls;
use crate::{
    cache::SnapshotCache,
    fleet::Fleet,
    http2::{Stop, foreign::ForeignHttp2},
    node::NodeDirectory,
    telemetry::TelemetrySink,
};

/// Serves snapshots to clients and collects their answers.
///
/// ```
/// # use std::sync::Arc;
/// use pointsman_xds::{
///     Admission, Fleet, Group, Limits, NoTelemetry, NodeDescription, NodeDirectory, Peer,
///     Refusal, SnapshotCache, XdsServer,
/// };
/// use tokio::net::TcpListener;
/// use tokio_util::sync::CancellationToken;
///
/// /// Who may be served, and with which snapshot.
/// #[derive(Debug)]
/// struct Edge;
///
/// #[async_trait::async_trait]
/// impl NodeDirectory for Edge {
///     async fn admit(
///         &self,
///         node: &NodeDescription,
///         _: &Peer,
///     ) -> Result<Admission, Refusal> {
///         match &*node.cluster {
///             "edge" => Ok(Admission::as_claimed(node, Group::new("edge"))),
///             other => Err(Refusal::Denied(format!("{other} is served elsewhere"))),
///         }
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let cache = Arc::new(SnapshotCache::new());
/// let fleet = Arc::new(Fleet::new(Arc::clone(&cache)));
/// let server = XdsServer::new(
///     cache,
///     fleet,
///     Arc::new(Edge),
///     Arc::new(NoTelemetry),
///     Limits::default(),
/// );
/// let listener = TcpListener::bind("127.0.0.1:0").await?;
/// let stop = CancellationToken::new();
/// # stop.cancel();
/// server.serve(listener, stop).await?; // until somebody calls `stop.cancel()`
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct XdsServer {
    cache: Arc<SnapshotCache>,
    fleet: Arc<Fleet>,
    directory: Arc<dyn NodeDirectory>,
    telemetry: Arc<dyn TelemetrySink>,
    limits: Limits,
    routes: Routes,
    http2: Option<Arc<dyn ForeignHttp2>>,
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
            limits: limits.clamped(),
            routes: Routes::default(),
            http2: None,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// Serves clients over mutual TLS only. The files of `tls` are reloaded when they change.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn with_tls(self, tls: Arc<ServerTls>) -> Self {
        Self {
            tls: Some(tls),
            ..self
        }
    }

    /// Serves connections without TLS by another HTTP/2 implementation, for comparisons.
    #[doc(hidden)]
    #[must_use]
    pub fn with_http2(self, http2: Arc<dyn ForeignHttp2>) -> Self {
        Self {
            http2: Some(http2),
            ..self
        }
    }

    /// Serves these gRPC services on the same port, instead of those of an earlier call. Their requests
    /// have the client's [`crate::Peer`] as an extension. They must not include discovery, access log
    /// or metrics services.
    #[must_use]
    pub fn with_routes(mut self, routes: Routes) -> Self {
        self.routes = routes;
        self
    }

    /// Serves until `stop` is cancelled. Then no new stream is accepted, open streams end with
    /// UNAVAILABLE, and connections that are still open after [`Limits::drain`] are closed.
    ///
    /// While the process or the system lacks file handles or memory, new connections wait in the
    /// listener's queue, and accepting is retried ten times a second. Open connections are served.
    /// Keep the process's limit of open files above [`Limits::connections`].
    ///
    /// # Errors
    /// [`ServeError`] if the listener fails for a minute in any other way. A failure of a client ends
    /// only its own streams.
    pub async fn serve(
        self,
        listener: TcpListener,
        stop: CancellationToken,
    ) -> Result<(), ServeError> {
        self.serve_on(listener, stop).await
    }

    /// Like [`XdsServer::serve`], for clients of this machine. TLS is not used: the permissions of the
    /// socket's file and its folder decide who may connect.
    ///
    /// # Errors
    /// As of [`XdsServer::serve`].
    pub async fn serve_unix(
        self,
        listener: UnixListener,
        stop: CancellationToken,
    ) -> Result<(), ServeError> {
        self.serve_on(listener, stop).await
    }

    async fn serve_on(
        self,
        listener: impl Listener,
        stop: CancellationToken,
    ) -> Result<(), ServeError> {
        let drain = self.limits.drain;
        let cache = Arc::clone(&self.cache);
        let mut beside = JoinSet::new();
        beside.spawn(async move { cache.wake_streams().await });
        #[cfg(feature = "tls")]
        if let Some(tls) = self.tls.clone() {
            beside.spawn(async move { match tls.watch(ServerTls::WATCH).await {} });
        }
        let front = Arc::new(self.front());
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => Ok(()),
            error = Arc::clone(&front).accept(listener) => Err(ServeError(error)),
        };
        front.stop().await;
        if timeout(drain + MARGIN, front.drained()).await.is_err() {
            debug!("connections are still open: left behind");
        }
        accepted
    }

    fn front(self) -> Front {
        let Self {
            cache,
            fleet,
            directory,
            telemetry,
            limits,
            routes,
            http2,
            #[cfg(feature = "tls")]
            tls,
        } = self;
        let instance = instance();
        info!(%instance, "serving xDS");
        let limits = Arc::new(limits);
        let stop = Arc::new(Stop::default());
        let telemetry = Arc::new(Telemetry {
            sink: telemetry,
            directory: Arc::clone(&directory),
            streams: Arc::new(Semaphore::new(limits.telemetry_streams)),
            limits: Arc::clone(&limits),
            stop: Arc::clone(&stop),
        });
        let ads = Arc::new(Ads {
            cache,
            fleet,
            directory,
            control_plane: wire::control_plane(&instance),
            instance: instance.into(),
            streams: Arc::new(Semaphore::new(limits.streams)),
            limits,
            stop,
        });
        let front = Front::new(ads, telemetry, routes.prepare(), http2);
        #[cfg(feature = "tls")]
        let front = front.with_tls(tls);
        front
    }
}

/// Why serving ended before it was stopped.
#[derive(Debug, thiserror::Error)]
#[error("no connection could be accepted for a minute")]
pub struct ServeError(#[source] io::Error);

/// Identifies this start of this server. It is part of every nonce, so a restarted or a second server
/// never repeats one.
fn instance() -> String {
    let start = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    format!("{:x}.{:x}", start.as_nanos(), std::process::id())
}

/// The time that connections have to notice that they are closed.
const MARGIN: Duration = Duration::from_millis(500);
