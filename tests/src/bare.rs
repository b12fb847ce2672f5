//! The floor: a PostgreSQL cutover by plain SQL, forward and back, with nothing in between.
//!
//! It runs the same steps as a switch does at the database — close, barrier, end sessions, marker, replay, promote,
//! slots for the way back, open — over sessions that are open beforehand, on one standby and its primary. Nobody holds
//! clients: they retry until the server that is published as the writer takes them. What anything else adds to the
//! pause can be told by comparing with this.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

mod back;
mod forward;
mod server;

use server::Server;

/// A primary and its standby with the control sessions to both.
#[derive(Debug)]
pub struct Bare {
    source: Server,
    target: Server,
    superuser: String,
    writer: watch::Sender<SocketAddr>,
}

/// Where the servers are and how to log in.
#[derive(Debug, Clone)]
pub struct Servers {
    /// The primary.
    pub source: SocketAddr,
    /// Its streaming standby.
    pub target: SocketAddr,
    /// A superuser that both accept over TCP without a password.
    pub superuser: String,
    /// The application databases.
    pub datnames: Vec<String>,
}

/// How long each step of a cutover took, in the order of the steps.
#[derive(Debug, Clone)]
pub struct Laps {
    last: Instant,
    laps: Vec<(&'static str, Duration)>,
}

impl Bare {
    /// Opens the control sessions and makes, on the source, what the cutover needs: publications for the way back, a
    /// probe table in each database, and the extension that reads WAL.
    ///
    /// # Errors
    /// A server refuses, or the standby has not replayed all that in time.
    pub async fn prepare(servers: &Servers) -> anyhow::Result<Self> {
        let Servers {
            source,
            target,
            superuser,
            datnames,
        } = servers;
        let source = Server::open(*source, superuser, datnames)
            .await
            .context("source")?;
        source.make_ready().await?;
        let made = source.marker().await?;
        let target = Server::open(*target, superuser, &[])
            .await
            .context("target")?;
        target.until_replayed(&made, PREPARE_DEADLINE).await?;
        let target = Server::open(target.address(), superuser, datnames)
            .await
            .context("target")?;
        let (writer, _) = watch::channel(source.address());
        Ok(Self {
            source,
            target,
            superuser: superuser.clone(),
            writer,
        })
    }

    /// The address of the present writer, as clients have to follow it.
    #[must_use]
    pub fn writer(&self) -> watch::Receiver<SocketAddr> {
        self.writer.subscribe()
    }

    /// Waits until the reverse stream of each database has taken everything that the target has written so far.
    ///
    /// # Errors
    /// It has not within `deadline`.
    pub async fn until_reverse_stream_proven(&self, deadline: Duration) -> anyhow::Result<()> {
        let written = self.target.marker().await?;
        self.target.until_confirmed(&written, deadline).await
    }
}

impl Laps {
    fn start() -> Self {
        Self {
            last: Instant::now(),
            laps: Vec::new(),
        }
    }

    fn lap(&mut self, step: &'static str) {
        let now = Instant::now();
        self.laps.push((step, now - self.last));
        self.last = now;
    }

    /// The steps and how long each took.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, Duration)> {
        self.laps.iter().copied()
    }

    /// All steps together.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.laps.iter().map(|(_, took)| *took).sum()
    }
}

/// Asks a server again and again until it says yes: SQL has no way to wait for what is asked here.
async fn until<F>(what: &str, deadline: Duration, mut ask: F) -> anyhow::Result<()>
where
    F: AsyncFnMut() -> anyhow::Result<bool>,
{
    let end = Instant::now() + deadline;
    while !ask().await.with_context(|| what.to_owned())? {
        if Instant::now() >= end {
            bail!("{what}: not within {deadline:?}");
        }
        sleep(ASK_EVERY).await;
    }
    Ok(())
}

const PREPARE_DEADLINE: Duration = Duration::from_secs(10);
const STEP_DEADLINE: Duration = Duration::from_secs(5);
/// The timer's own granularity is 1 ms; asking costs some 0.1 ms.
const ASK_EVERY: Duration = Duration::from_micros(500);
