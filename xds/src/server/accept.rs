//! Accepts connections, within the limits.

mod errors;
mod rate_limiter;

use std::{
    hash::{BuildHasher as _, RandomState},
    io,
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep},
};
use tokio_util::task::TaskTracker;
use tonic::service::Routes;
use tracing::debug;

use self::{errors::AcceptErrors, rate_limiter::RateLimiter};
use super::{ads::Ads, services::Services, telemetry::Telemetry};
#[cfg(feature = "tls")]
use crate::tls::ServerTls;
use crate::{
    http2::{Bounds, Driver, Timeouts, foreign::ForeignHttp2},
    peer::Peer,
};

/// Accepts connections and serves each in a task.
#[derive(Debug)]
pub(super) struct Front {
    ads: Arc<Ads>,
    telemetry: Arc<Telemetry>,
    routes: Routes,
    http2: Option<Arc<dyn ForeignHttp2>>,
    connections: Arc<Semaphore>,
    tasks: TaskTracker,
    #[cfg(feature = "tls")]
    tls: Option<Arc<ServerTls>>,
}

impl Front {
    pub(super) fn new(
        ads: Arc<Ads>,
        telemetry: Arc<Telemetry>,
        routes: Routes,
        http2: Option<Arc<dyn ForeignHttp2>>,
    ) -> Self {
        Self {
            http2,
            connections: Arc::new(Semaphore::new(ads.limits.connections)),
            ads,
            telemetry,
            routes,
            tasks: TaskTracker::new(),
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// Serves only clients that authenticate by TLS.
    #[cfg(feature = "tls")]
    pub(super) fn with_tls(self, tls: Option<Arc<ServerTls>>) -> Self {
        Self { tls, ..self }
    }

    /// Accepts connections as the limits allow. Returns only an error that has lasted and that is not
    /// a lack of file handles or memory.
    pub(super) async fn accept(self: Arc<Self>, listener: impl Listener) -> io::Error {
        let mut limiter = RateLimiter::new(self.ads.limits.connections_per_second, Instant::now());
        let mut errors = AcceptErrors::default();
        loop {
            let Ok(permit) = Arc::clone(&self.connections).acquire_owned().await else {
                return io::Error::other("the server is stopping");
            };
            limiter.wait().await;
            match listener.accept().await {
                Ok(accepted) => {
                    errors = AcceptErrors::default();
                    match accepted {
                        Accepted::Tcp(socket, address) => {
                            Arc::clone(&self).take(socket, address, permit);
                        }
                        Accepted::Unix(socket) => self.take_local(socket, permit),
                    }
                }
                Err(error) if of_one_connection(&error) => {
                    debug!(%error, "a connection went before it was accepted");
                }
                Err(error) => {
                    if errors.is_permanent(&error, Instant::now()) {
                        return error;
                    }
                    // Usually a lack of file handles. No event tells when it is over, and the
                    // connections wait in the listener's queue.
                    sleep(RETRY).await;
                }
            }
        }
    }

    /// Ends every stream. A connection closes when its streams have ended.
    pub(super) async fn stop(&self) {
        self.tasks.close();
        self.ads.stop.begin().await;
    }

    /// Waits until every connection has closed.
    pub(super) async fn drained(&self) {
        self.tasks.wait().await;
    }

    fn take(self: Arc<Self>, socket: TcpStream, address: SocketAddr, permit: OwnedSemaphorePermit) {
        if let Err(error) = prepare(&socket) {
            debug!(%address, %error, "a connection went before it was served");
            return;
        }
        let peer = Peer {
            address,
            identity: None,
        };
        #[cfg(feature = "tls")]
        if let Some(tls) = self.tls.clone() {
            self.tasks.clone().spawn(async move {
                // `accept` logs clients that fail to authenticate.
                if let Ok(connection) = tls.accept(socket, address).await {
                    let peer = connection.peer().clone();
                    // A new task, which does not keep the memory of the handshake.
                    self.tasks.spawn(self.connection(connection, peer, permit));
                }
            });
            return;
        }
        if let Some(http2) = &self.http2 {
            let (bounds, timeouts) = self.terms();
            let services = Arc::new(self.services(peer, permit));
            self.tasks
                .spawn(http2.serve(socket, services, bounds, timeouts));
            return;
        }
        self.tasks.spawn(self.connection(socket, peer, permit));
    }

    /// Serves a client of this machine. The socket's file permissions have decided who that may be.
    fn take_local(&self, socket: UnixStream, permit: OwnedSemaphorePermit) {
        let peer = Peer {
            address: Peer::LOCAL,
            identity: None,
        };
        self.tasks.spawn(self.connection(socket, peer, permit));
    }

    /// The task of one connection.
    fn connection<IO>(
        &self,
        io: IO,
        peer: Peer,
        permit: OwnedSemaphorePermit,
    ) -> Driver<IO, Services>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let (bounds, timeouts) = self.terms();
        let age = self.ads.limits.connection_age;
        let age = age.map(|age| scattered(age, &peer));
        let services = Arc::new(self.services(peer, permit));
        let stop = Arc::clone(&self.ads.stop);
        Driver::new(io, services, bounds, timeouts, age, stop)
    }

    fn services(&self, peer: Peer, permit: OwnedSemaphorePermit) -> Services {
        Services {
            ads: Arc::clone(&self.ads),
            telemetry: Arc::clone(&self.telemetry),
            routes: self.routes.clone(),
            peer,
            _permit: permit,
        }
    }

    /// The limits of one connection.
    fn terms(&self) -> (Bounds, Timeouts) {
        let limits = &self.ads.limits;
        let bounds = Bounds {
            streams: limits.streams_per_connection,
            header_bytes: limits.header_bytes,
        };
        let timeouts = Timeouts {
            first_request: limits.first_request,
            keepalive_interval: limits.keepalive_interval,
            keepalive_timeout: limits.keepalive_timeout,
            write: limits.write,
            drain: limits.drain,
        };
        (bounds, timeouts)
    }
}

/// What connections come from.
pub(super) trait Listener: Send {
    fn accept(&self) -> impl Future<Output = io::Result<Accepted>> + Send;
}

/// A connection that has come.
pub(super) enum Accepted {
    Tcp(TcpStream, SocketAddr),
    Unix(UnixStream),
}

impl Listener for TcpListener {
    async fn accept(&self) -> io::Result<Accepted> {
        let (socket, address) = Self::accept(self).await?;
        Ok(Accepted::Tcp(socket, address))
    }
}

impl Listener for UnixListener {
    async fn accept(&self) -> io::Result<Accepted> {
        let (socket, _unnamed) = Self::accept(self).await?;
        Ok(Accepted::Unix(socket))
    }
}

fn prepare(socket: &TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    // Limits what the kernel buffers. A client that reads late then gets the newest content instead of
    // megabytes of old content.
    SockRef::from(socket).set_tcp_notsent_lowat(UNSENT)
}

fn of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

/// Varies the age by up to a quarter, at random.
fn scattered(age: Duration, peer: &Peer) -> Duration {
    let chance = RandomState::new().hash_one(peer.address) % 512;
    let chance = u32::try_from(chance).unwrap_or_default();
    age.saturating_mul(768 + chance) / 1024
}

/// In bytes.
const UNSENT: u32 = 16_384;
const RETRY: Duration = Duration::from_millis(100);
