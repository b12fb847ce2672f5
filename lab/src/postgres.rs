//! Real PostgreSQL: a primary with its application databases, and a streaming standby of it.

mod access;
mod contents;
mod data_directory;
mod declaration;
mod grants;
mod half_record;
mod heartbeat;
mod hosting;
mod inventory;
mod lifetime;
mod promotion_api;
mod server;
mod session;
mod template;
mod tls;
mod verifier;
mod walsender;

use std::{fs, net::SocketAddr, path::Path, time::Duration};

use anyhow::{Result, bail};
use futures_util::future::try_join;
use tokio::time::{Instant, sleep};

use self::{access::Access, server::Parts, template::Template, tls::Tls};
pub use self::{
    contents::Contents,
    declaration::Ways,
    hosting::Hosting,
    inventory::Inventory,
    promotion_api::{
        PromotionApi, PromotionEndpoint, PromotionStage, promotion_stage, request_promotion,
    },
    server::PostgresServer,
    session::{Session, connect},
    template::STANDBY_SLOT,
    tls::ClientTls,
    walsender::Walsender,
};
use crate::{gate::Gate, scratch::Storage, tools};

const STREAMING_DEADLINE: Duration = Duration::from_secs(20);
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// What a pair is to be like.
#[derive(Clone, Debug)]
pub struct PairOptions {
    /// The application databases; each has what [`Contents::schema`] makes.
    pub databases: Vec<String>,
    pub contents: Contents,
    pub hosting: Hosting,
    /// The major version of PostgreSQL, 14 to 18; `None` is whichever is installed.
    pub major: Option<u32>,
    /// Takes no TCP connection without TLS, and has certificates of an authority of its own.
    pub tls: bool,
    /// Off is quicker to fill, and survives no crash of the machine. It does survive
    /// `kill -9` of the server.
    pub fsync: bool,
    /// What their files lie on. On disk they have no holes, as on servers that have run for a while:
    /// filling one costs a promotion more than all the rest of it.
    pub storage: Storage,
    /// Puts a [`Gate`] between the standby and its primary.
    pub gate_replication: bool,
}

impl Default for PairOptions {
    fn default() -> Self {
        Self {
            databases: vec!["orders".to_owned(), "billing".to_owned()],
            contents: Contents::default(),
            hosting: Hosting::default(),
            major: None,
            tls: false,
            fsync: true,
            storage: Storage::default(),
            gate_replication: false,
        }
    }
}

/// Two servers: `blue` is the primary and serves, `green` is its standby.
///
/// On both, the superuser, the role `app` (owner of the tables, no superuser), the role
/// `repl` (replication and reading) and the role `probe` (nothing) may connect from loopback: without a password where
/// their users run the servers, unless the [`Contents`] say otherwise; see [`Hosting`].
#[derive(Debug)]
pub struct PostgresPair {
    pub source: PostgresServer,
    pub target: PostgresServer,
    /// The gate between `target` and `source`, if the options ask for one.
    pub replication: Option<Gate>,
}

impl PostgresPair {
    /// Starts both servers below `folder` and waits until the standby streams.
    pub async fn start(folder: &Path, options: &PairOptions) -> Result<Self> {
        let bin = &match options.major {
            Some(major) => tools::postgres_bin_of(major).await?,
            None => tools::postgres_bin().await?.to_path_buf(),
        };
        let template = Template::find(bin, options).await?;
        let tls = options.tls.then(|| Tls::new(folder)).transpose()?;
        let access = Access::new(options.hosting, tls);
        let source = PostgresServer::at("blue", bin, folder, access.clone())?;
        let target = PostgresServer::at("green", bin, folder, access)?;
        try_join(
            template.copy(template::SOURCE, &source, options.storage),
            template.copy(template::TARGET, &target, options.storage),
        )
        .await?;
        let replication = if options.gate_replication {
            Some(Gate::start(source.address()).await?)
        } else {
            None
        };
        let upstream = replication
            .as_ref()
            .map_or_else(|| source.address(), Gate::address);
        for server in [&source, &target] {
            server.configure(options.fsync)?;
            server.admit(&options.contents.hba)?;
        }
        target.follow(&source, upstream, STANDBY_SLOT)?;
        source.start().await?;
        target.start().await?;
        streaming(&source, target.name()).await?;
        source.let_superuser_write();
        target.let_superuser_write();
        Ok(Self {
            source,
            target,
            replication,
        })
    }
}

/// Starts one more standby of `primary`, with a slot of its own (`<name>_slot`), by a base
/// backup over the network.
pub async fn start_standby(
    name: &str,
    folder: &Path,
    primary: &PostgresServer,
) -> Result<PostgresServer> {
    let Parts { bin, access, .. } = primary.parts();
    let standby = PostgresServer::at(name, bin, folder, access.clone())?;
    copied(&standby, primary, primary.address()).await?;
    standby.let_superuser_write();
    Ok(standby)
}

/// Makes `server` anew, as a standby of `primary`, which it reaches at `at`. What it held is gone; its name
/// and its address stay.
pub async fn rebuild_standby(
    server: &PostgresServer,
    primary: &PostgresServer,
    at: SocketAddr,
) -> Result<()> {
    server.crash().await?;
    fs::remove_dir_all(server.data_folder())?;
    let session = primary.client("postgres").await?;
    let deadline = Instant::now() + STREAMING_DEADLINE;
    // The walsender of the former standby may not have found out yet.
    while let Err(error) = session.execute(DROP_SLOT, &[&slot_of(server)]).await {
        if Instant::now() > deadline {
            return Err(error.into());
        }
        sleep(LOOK_AGAIN).await;
    }
    copied(server, primary, at).await
}

/// Fills the data directory of `standby`, starts it, and waits until it streams.
async fn copied(standby: &PostgresServer, primary: &PostgresServer, at: SocketAddr) -> Result<()> {
    let slot = slot_of(standby);
    standby.basebackup(primary, &slot).await?;
    standby.configure(true)?;
    standby.follow(primary, at, &slot)?;
    standby.start().await?;
    streaming(primary, standby.name()).await
}

fn slot_of(standby: &PostgresServer) -> String {
    format!("{}_slot", standby.name())
}

/// Its own, and what a standby that went has left: it would keep WAL for nobody.
const DROP_SLOT: &str = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots \
                         WHERE slot_name = $1 OR (slot_type = 'physical' AND NOT active)";

/// Starts a primary that has nothing to do with any other: its own system identifier,
/// the same roles, and `databases` with their table.
pub async fn start_stranger(
    name: &str,
    folder: &Path,
    databases: &[String],
) -> Result<PostgresServer> {
    start_stranger_from(tools::postgres_bin().await?, name, folder, databases).await
}

/// The same with the programs in `bin`.
pub async fn start_stranger_from(
    bin: &Path,
    name: &str,
    folder: &Path,
    databases: &[String],
) -> Result<PostgresServer> {
    let access = Access::new(Hosting::SelfManaged, None);
    let stranger = PostgresServer::at(name, bin, folder, access)?;
    let contents = Contents::default();
    template::create(&stranger, &contents, true).await?;
    stranger.start().await?;
    template::fill(&stranger, databases, &contents).await?;
    Ok(stranger)
}

/// Waits until `primary` streams to the standby called `name`.
async fn streaming(primary: &PostgresServer, name: &str) -> Result<()> {
    let session = primary.client("postgres").await?;
    let deadline = Instant::now() + STREAMING_DEADLINE;
    // A standby that has told nothing of its replay yet is not told from a copy of WAL.
    let question = "SELECT FROM pg_stat_replication \
                    WHERE application_name = $1 AND state = 'streaming' AND replay_lsn IS NOT NULL";
    while session.query(question, &[&name]).await?.is_empty() {
        if Instant::now() > deadline {
            bail!(
                "{} does not stream to {name} after {STREAMING_DEADLINE:?}\n{}",
                primary.name(),
                primary.log_tail()
            );
        }
        sleep(LOOK_AGAIN).await;
    }
    Ok(())
}
