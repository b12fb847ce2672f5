//! A door in a TCP connection that tests open and shut.

mod pump;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::timeout,
};

use crate::ports::Port;

/// How long a connection to what lies behind the gate may take.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);

/// What the gate does with connections, those that are open included.
#[derive(Clone, Debug)]
pub(crate) enum Mode {
    Pass,
    /// Holds a connection from the chunk on in which its client sends `pattern`.
    HoldRequest(Arc<[u8]>),
    /// Passes the chunk in which the client sends `pattern`, and from then on holds what
    /// the server answers.
    HoldAnswer(Arc<[u8]>),
    /// Swallows everything, in both directions.
    BlackHole,
    /// Closes every connection, new ones at once.
    Severed,
}

/// A TCP proxy on `127.0.0.1`, for control traffic: between Pointsman and a PostgreSQL
/// server, between two servers, between a sidecar and the control plane.
///
/// It sees bytes: what it is to recognise must pass unencrypted, and in one piece of up to
/// 64 KiB. Closed, with all its connections, on drop.
#[derive(Debug)]
pub struct Gate {
    port: Port,
    mode: watch::Sender<Mode>,
    caught: watch::Sender<u64>,
    // Owns every connection's task.
    _tasks: JoinSet<()>,
}

/// Resolves when the gate has caught something.
#[derive(Debug)]
pub struct Caught {
    count: watch::Receiver<u64>,
    before: u64,
}

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
        let port = Port::reserve()?;
        let listener = TcpListener::bind(port.on_loopback())
            .await
            .context("opening a gate")?;
        let mode = watch::Sender::new(Mode::Pass);
        let caught = watch::Sender::new(0);
        let mut tasks = JoinSet::new();
        let door = Door {
            upstream,
            mode: mode.subscribe(),
            caught: caught.clone(),
        };
        tasks.spawn(door.accept(listener));
        Ok(Self {
            port,
            mode,
            caught,
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

    /// Sends on what was held, and holds nothing any more.
    pub fn release(&self) {
        self.set(Mode::Pass);
    }

    /// Closes every connection, and new ones at once.
    pub fn sever(&self) {
        self.set(Mode::Severed);
    }

    /// Accepts everything and answers nothing, on open connections too.
    pub fn black_hole(&self) {
        self.set(Mode::BlackHole);
    }

    /// Passes new connections again. Those that lived through a black hole are closed.
    pub fn restore(&self) {
        self.set(Mode::Pass);
    }

    fn set(&self, mode: Mode) -> Caught {
        let caught = Caught {
            before: *self.caught.borrow(),
            count: self.caught.subscribe(),
        };
        self.mode.send_replace(mode);
        caught
    }
}

/// The listening side of a gate.
#[derive(Clone, Debug)]
struct Door {
    upstream: SocketAddr,
    mode: watch::Receiver<Mode>,
    caught: watch::Sender<u64>,
}

impl Door {
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
        let first = self.mode.borrow_and_update().clone();
        match first {
            Mode::Severed => {}
            Mode::BlackHole => pump::swallow(client, self.mode).await,
            Mode::Pass | Mode::HoldRequest(_) | Mode::HoldAnswer(_) => {
                let connecting = timeout(CONNECT_DEADLINE, TcpStream::connect(self.upstream));
                // Otherwise the client finds its connection closed, as at a closed door.
                if let Ok(Ok(server)) = connecting.await {
                    pump::relay(client, server, self.mode, self.caught).await;
                }
            }
        }
    }
}
