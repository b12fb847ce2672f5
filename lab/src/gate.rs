//! A TCP proxy that tests open, shut, slow down and cut.

mod controls;
mod pump;

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::timeout,
};

use self::controls::{Controls, Mode};
use crate::ports::Port;

/// How long a connection to what lies behind the gate may take.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);

/// A TCP proxy on `127.0.0.1`, for control traffic: between Pointsman and a PostgreSQL
/// server, between two servers, between a sidecar and the control plane.
///
/// It sees bytes: what it is to recognise must pass unencrypted, and in one piece of up to
/// 64 KiB. Closed, with all its connections, on drop.
#[derive(Debug)]
pub struct Gate {
    port: Port,
    controls: watch::Sender<Controls>,
    caught: watch::Sender<u64>,
    traffic: Traffic,
    // Owns every connection's task.
    _tasks: JoinSet<()>,
}

/// Resolves when the gate has caught something.
#[derive(Debug)]
pub struct Caught {
    count: watch::Receiver<u64>,
    before: u64,
}

/// The bytes from the server on each connection, oldest first.
type Traffic = Arc<Mutex<Vec<Arc<AtomicU64>>>>;

impl Caught {
    /// Waits until a connection is held.
    ///
    /// # Errors
    /// When none was caught within `deadline`.
    pub async fn within(mut self, deadline: Duration) -> Result<()> {
        let before = self.before;
        timeout(deadline, self.count.wait_for(|count| *count > before))
            .await
            .with_context(|| format!("the gate caught nothing within {deadline:?}"))?
            .context("the gate was closed")?;
        Ok(())
    }
}

impl Gate {
    /// Opens a gate in front of `upstream`; it passes everything to begin with.
    pub async fn start(upstream: SocketAddr) -> Result<Self> {
        let (port, listener) = Port::listen().await.context("opening a gate")?;
        let controls = watch::Sender::new(Controls::default());
        let caught = watch::Sender::new(0);
        let traffic = Traffic::default();
        let mut tasks = JoinSet::new();
        let acceptor = Acceptor {
            upstream,
            controls: controls.subscribe(),
            caught: caught.clone(),
            traffic: Arc::clone(&traffic),
        };
        tasks.spawn(acceptor.accept(listener));
        Ok(Self {
            port,
            controls,
            caught,
            traffic,
            _tasks: tasks,
        })
    }

    /// Where to connect to instead of what lies behind.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.port.on_loopback()
    }

    /// Holds each connection at the moment when its client sends `pattern`: that chunk and
    /// all that follows wait for [`Self::release`], and are sent even if the client has
    /// gone away in the meantime. Connections that do not send it pass.
    pub fn hold_at(&self, pattern: impl AsRef<[u8]>) -> Caught {
        self.set(Mode::HoldRequest(pattern.as_ref().into()))
    }

    /// Lets the request with `pattern` through and holds the server's answers to it from
    /// then on: the effect has happened and nobody was told.
    pub fn hold_answer_to(&self, pattern: impl AsRef<[u8]>) -> Caught {
        self.set(Mode::HoldAnswer(pattern.as_ref().into()))
    }

    /// Holds everything that clients send.
    pub fn hold(&self) -> Caught {
        self.hold_at("")
    }

    /// Sends on what was held, and holds nothing any more.
    pub fn release(&self) {
        self.set(Mode::Pass);
    }

    /// Closes every connection, and new ones at once.
    pub fn sever(&self) {
        self.set(Mode::Severed);
        self.cut();
    }

    /// Accepts everything and answers nothing, on open connections too.
    pub fn black_hole(&self) {
        self.set(Mode::BlackHole);
    }

    /// Passes new connections again. Those that lived through a black hole are closed.
    pub fn restore(&self) {
        self.set(Mode::Pass);
    }

    /// Closes the connections that are open.
    pub fn cut(&self) {
        self.controls.send_modify(|controls| controls.cuts += 1);
    }

    /// Delays each chunk from a client by up to `at_most`, differently each time and the same
    /// in each run.
    pub fn delay(&self, at_most: Duration) {
        self.controls
            .send_modify(|controls| controls.delay = at_most);
    }

    /// How many connections there were.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.lock_traffic().len()
    }

    /// How many bytes the server has sent on the newest connection.
    #[must_use]
    pub fn received(&self) -> u64 {
        let traffic = self.lock_traffic();
        let newest = traffic.last();
        newest.map_or(0, |bytes| bytes.load(Ordering::Relaxed))
    }

    fn lock_traffic(&self) -> std::sync::MutexGuard<'_, Vec<Arc<AtomicU64>>> {
        self.traffic.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, mode: Mode) -> Caught {
        let caught = Caught {
            before: *self.caught.borrow(),
            count: self.caught.subscribe(),
        };
        self.controls.send_modify(|controls| controls.mode = mode);
        caught
    }
}

/// The listening side of a gate.
#[derive(Clone, Debug)]
struct Acceptor {
    upstream: SocketAddr,
    controls: watch::Receiver<Controls>,
    caught: watch::Sender<u64>,
    traffic: Traffic,
}

impl Acceptor {
    async fn accept(self, listener: TcpListener) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((client, _)) => { connections.spawn(self.clone().serve(client)); }
                    Err(error) => tracing::warn!(%error, "the gate could not accept a connection"),
                },
                Some(_) = connections.join_next() => {}
            }
        }
    }

    async fn serve(mut self, client: TcpStream) {
        let received = self.count_connection();
        let (mode, cuts) = {
            let controls = self.controls.borrow_and_update();
            (controls.mode.clone(), controls.cuts)
        };
        match mode {
            Mode::Severed => {}
            Mode::BlackHole => pump::swallow(client, self.controls, cuts).await,
            Mode::Pass | Mode::HoldRequest(_) | Mode::HoldAnswer(_) => {
                let connecting = timeout(CONNECT_DEADLINE, TcpStream::connect(self.upstream));
                // Otherwise the client finds its connection closed, as at a severed gate.
                if let Ok(Ok(server)) = connecting.await {
                    let connection = pump::Connection {
                        controls: self.controls,
                        cuts,
                        caught: self.caught,
                        received,
                    };
                    connection.relay(client, server).await;
                }
            }
        }
    }

    fn count_connection(&self) -> Arc<AtomicU64> {
        let received = Arc::<AtomicU64>::default();
        self.traffic
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Arc::clone(&received));
        received
    }
}
