//! A server and its clients, each in a process of its own, led line by line.

mod helper;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::time::sleep;

use self::helper::Helper;
use super::content::{self, NAME};
use super::control::to_hex;

/// Who serves.
#[derive(Debug, Clone)]
pub(super) enum Server {
    /// With so many databases in its catalogue.
    Ours {
        databases: usize,
        /// A folder of certificates: with mutual TLS.
        certificates: Option<PathBuf>,
    },
    /// Ours, with the `h2` crate for HTTP/2.
    H2,
    Floor,
    /// Another program that speaks the same lines, and its arguments.
    Other {
        program: PathBuf,
        arguments: [&'static str; 2],
    },
}

impl Server {
    /// With one database, in plain text.
    pub(super) const OURS: Self = Self::Ours {
        databases: 1,
        certificates: None,
    };
}

/// A server with its clients connected.
#[derive(Debug)]
pub(super) struct Rig {
    server: Helper,
    client: Helper,
    address: String,
    streams: usize,
    /// The version of the content.
    version: u16,
    /// Resident bytes of the server before the first client.
    empty: u64,
    connect_s: f64,
}

/// What one change cost. Times count from the moment when the server was told of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Push {
    /// Until 99 of 100 clients had it, in ms.
    pub(super) p99_ms: f64,
    pub(super) last_ms: f64,
    /// Until the server had all ACKs, in ms.
    pub(super) acks_ms: f64,
    /// How long the call that publishes took, in ms.
    pub(super) call_ms: f64,
    /// Processor time of the server per stream, in µs; reading the ACKs is in it.
    pub(super) cpu_us: f64,
}

impl Rig {
    /// Starts a server and connects so many clients to it.
    pub(super) async fn start(server: &Server, streams: usize) -> anyhow::Result<Self> {
        let mut client = vec!["client"];
        let mut server = match server {
            Server::Ours {
                databases,
                certificates,
            } => {
                let databases = databases.to_string();
                let mut role = vec!["ours", &databases];
                if let Some(folder) = certificates {
                    let folder = folder.to_str().context("a folder that is no text")?;
                    role.push(folder);
                    client.push(folder);
                }
                Helper::of_us(&role)?
            }
            Server::H2 => Helper::of_us(&["h2"])?,
            Server::Floor => Helper::of_us(&["floor"])?,
            Server::Other { program, arguments } => Helper::start(program, arguments)?,
        };
        let address = server.hear_text("listening").await?;
        let client = Helper::of_us(&client)?;
        let mut rig = Self {
            server,
            client,
            address,
            streams,
            version: 0,
            empty: 0,
            connect_s: 0.0,
        };
        let content = rig.next_content();
        // Nobody is there to acknowledge it.
        rig.server.tell(&format!("publish {content} 0")).await?;
        rig.server.hear::<3>("published").await?;
        rig.server.hear::<1>("acked").await?;
        rig.empty = rig.server.resident()?;
        rig.server.tell(&format!("await {streams}")).await?;
        let address = &rig.address;
        let connect = format!("connect {address} {streams} {content}");
        rig.client.tell(&connect).await?;
        let [began, synced] = rig.client.hear("synced").await?;
        rig.connect_s = ms(began, synced) / 1e3;
        rig.server.hear::<1>("acked").await?;
        Ok(rig)
    }

    /// One change to all, waiting for the ACKs of the first `counted` clients.
    pub(super) async fn push(&mut self, counted: usize) -> anyhow::Result<Push> {
        let content = self.next_content();
        self.client
            .tell(&format!("round {content} {counted}"))
            .await?;
        self.client.hear::<0>("ready").await?;
        let before = self.cpu().await?;
        self.server
            .tell(&format!("publish {content} {counted}"))
            .await?;
        let [began, called, returned] = self.server.hear("published").await?;
        let [acked] = self.server.hear("acked").await?;
        let [_, p99, last] = self.client.hear("received").await?;
        // A server's work after the last ACK belongs to the change, too.
        sleep(BEHIND).await;
        let spent = self.cpu().await?.saturating_sub(before);
        ensure!(
            last <= acked,
            "the server counts an ACK of a client that has nothing yet"
        );
        Ok(Push {
            p99_ms: ms(began, p99),
            last_ms: ms(began, last),
            acks_ms: ms(began, acked),
            call_ms: ms(called, returned),
            cpu_us: spent as f64 / 1e3 / self.streams as f64,
        })
    }

    /// Drops all connections at once and makes them anew; seconds until all have the content
    /// and the server all their ACKs.
    pub(super) async fn storm(&mut self) -> anyhow::Result<f64> {
        self.client.tell("storm").await?;
        let [began, synced] = self.client.hear("synced").await?;
        self.server.tell(&format!("await {}", self.streams)).await?;
        let [acked] = self.server.hear("acked").await?;
        Ok(ms(began, acked.max(synced)) / 1e3)
    }

    /// The clients from this number on read nothing any more.
    pub(super) async fn stall(&mut self, from: usize) -> anyhow::Result<()> {
        self.client.tell(&format!("stall {from}")).await?;
        self.client.hear::<0>("stalled").await?;
        Ok(())
    }

    /// All clients read again, and have the newest content.
    pub(super) async fn resume(&mut self) -> anyhow::Result<()> {
        self.client.tell("resume").await?;
        self.client.hear::<0>("resumed").await?;
        Ok(())
    }

    /// Connects clients that subscribe and never read.
    pub(super) async fn connect_stuck(&mut self, count: usize) -> anyhow::Result<()> {
        let stuck = format!("stuck {} {count}", self.address);
        self.client.tell(&stuck).await?;
        self.client.hear::<0>("stuck").await?;
        Ok(())
    }

    /// Resident kB of the server for each stream, above what it had before the first one;
    /// taken after a while of quiet.
    pub(super) async fn resident_kb_per_stream(&self) -> anyhow::Result<f64> {
        let above = self.resident_quiet().await?.saturating_sub(self.empty);
        Ok(above as f64 / 1e3 / self.streams as f64)
    }

    /// Resident bytes of the server after a while of quiet.
    pub(super) async fn resident_quiet(&self) -> anyhow::Result<u64> {
        sleep(QUIET).await;
        self.server.resident()
    }

    /// How long it took until all clients had connected and were synced.
    pub(super) fn connect_s(&self) -> f64 {
        self.connect_s
    }

    pub(super) fn streams(&self) -> usize {
        self.streams
    }

    async fn cpu(&mut self) -> anyhow::Result<u64> {
        self.server.tell("stats").await?;
        let [cpu] = self.server.hear("stats").await?;
        Ok(cpu)
    }

    fn next_content(&mut self) -> String {
        self.version += 1;
        to_hex(&content::assignment(NAME, self.version))
    }
}

/// Milliseconds from one moment in nanoseconds to another.
fn ms(from: u64, to: u64) -> f64 {
    to.saturating_sub(from) as f64 / 1e6
}

const BEHIND: Duration = Duration::from_millis(20);
const QUIET: Duration = Duration::from_secs(2);
