//! Connections: how many, how fast, and with which manners.

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
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep},
};
use tokio_util::task::TaskTracker;
use tonic::service::Routes;
use tracing::debug;

use self::{errors::AcceptErrors, rate_limiter::RateLimiter};
use super::{ads::Ads, port::Port, telemetry::Telemetry};
#[cfg(feature = "tls")]
use crate::tls::ServerTls;
use crate::{
    http2::{Bounds, Driver, Patience},
    peer::Peer,
};

/// The server towards its connections.
#[derive(Debug)]
pub(super) struct Front {
    ads: Arc<Ads>,
    telemetry: Arc<Telemetry>,
    routes: Routes,
    connections: Arc<Semaphore>,
    tasks: TaskTracker,
    #[cfg(feature = "tls")]
    tls: Option<Arc<ServerTls>>,
}

impl Front {
    pub(super) fn new(ads: Arc<Ads>, telemetry: Arc<Telemetry>, routes: Routes) -> Self {
        Self {
            connections: Arc::new(Semaphore::new(ads.limits.connections)),
            ads,
            telemetry,
            routes,
            tasks: TaskTracker::new(),
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// Lets clients prove who they are before they are served.
    #[cfg(feature = "tls")]
    pub(super) fn with_tls(self, tls: Option<Arc<ServerTls>>) -> Self {
        Self { tls, ..self }
    }

    /// Takes connections up as the limits allow. Ends only with an error that has lasted, and
    /// is no lack of file handles or memory.
    pub(super) async fn accept(self: Arc<Self>, listener: TcpListener) -> io::Error {
        let mut limiter = RateLimiter::new(self.ads.limits.connections_per_second, Instant::now());
        let mut errors = AcceptErrors::default();
        loop {
            let Ok(permit) = Arc::clone(&self.connections).acquire_owned().await else {
                return io::Error::other("the server is stopping");
            };
            limiter.wait().await;
            match listener.accept().await {
                Ok((socket, address)) => {
                    errors = AcceptErrors::default();
                    Arc::clone(&self).take(socket, address, permit);
                }
                Err(error) if of_one_connection(&error) => {
                    debug!(%error, "a connection went before it was accepted");
                }
                Err(error) => {
                    if errors.is_hopeless(&error, Instant::now()) {
                        return error;
                    }
                    // Mostly file handles that have run out. No event says that there are
                    // some again, and the connections wait in the listener's queue.
                    sleep(RETRY).await;
                }
            }
        }
    }

    /// Ends every stream, and every connection when its streams have ended.
    pub(super) async fn stop(&self) {
        self.tasks.close();
        self.ads.stop.begin().await;
    }

    /// Ends when every connection has.
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
                // Whoever does not prove who it is was named in the log.
                if let Ok(connection) = tls.accept(socket, address).await {
                    let peer = connection.peer().clone();
                    // A task of its own needs no memory for the handshake.
                    self.tasks.spawn(self.connection(connection, peer, permit));
                }
            });
            return;
        }
        self.tasks.spawn(self.connection(socket, peer, permit));
    }

    /// Serves one connection, whatever carries it.
    fn connection<IO>(&self, io: IO, peer: Peer, permit: OwnedSemaphorePermit) -> Driver<IO, Port>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let limits = &self.ads.limits;
        let bounds = Bounds {
            streams: limits.streams_per_connection,
            header_bytes: limits.header_bytes,
        };
        let patience = Patience {
            first_request: limits.first_request,
            keepalive_interval: limits.keepalive_interval,
            keepalive_timeout: limits.keepalive_timeout,
            write: limits.write,
            drain: limits.drain,
        };
        let age = limits.connection_age.map(|age| scattered(age, &peer));
        let port = Port {
            ads: Arc::clone(&self.ads),
            telemetry: Arc::clone(&self.telemetry),
            routes: self.routes.clone(),
            peer,
            _permit: permit,
        };
        let stop = Arc::clone(&self.ads.stop);
        Driver::new(io, Arc::new(port), bounds, patience, age, stop)
    }
}

fn prepare(socket: &TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    // The kernel takes little more than what is on its way: what a client that does not read
    // leaves behind is then the newest content, not megabytes of old.
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

/// A quarter more or less, by chance.
fn scattered(age: Duration, peer: &Peer) -> Duration {
    let chance = RandomState::new().hash_one(peer.address) % 512;
    let chance = u32::try_from(chance).unwrap_or_default();
    age.saturating_mul(768 + chance) / 1024
}

/// In bytes.
const UNSENT: u32 = 16_384;
const RETRY: Duration = Duration::from_millis(100);
