//! Real PostgreSQL: a primary with its application databases, and a streaming standby of it.

mod contents;
mod server;
mod template;
mod walsender;

use std::{path::Path, time::Duration};

use anyhow::{Result, bail};
use futures_util::future::try_join;
use tokio::time::{Instant, sleep};

use self::template::Template;
pub use self::{
    contents::Contents,
    server::{PostgresServer, Session, connect},
    template::STANDBY_SLOT,
    walsender::Walsender,
};
use crate::{gate::Gate, tools};

const STREAMING_DEADLINE: Duration = Duration::from_secs(20);
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// What a pair is to be like.
#[derive(Clone, Debug)]
pub struct PairOptions {
    /// The application databases; each has what [`Contents::schema`] makes.
    pub databases: Vec<String>,
    pub contents: Contents,
    /// Off is quicker to fill, and survives no crash of the machine. It does survive
    /// `kill -9` of the server.
    pub fsync: bool,
    /// Puts a [`Gate`] between the standby and its primary.
    pub gate_replication: bool,
}

impl Default for PairOptions {
    fn default() -> Self {
        Self {
            databases: vec!["orders".to_owned(), "billing".to_owned()],
            contents: Contents::default(),
            fsync: true,
            gate_replication: false,
        }
    }
}

/// Two servers: `blue` is the primary and serves, `green` is its standby.
///
/// On both, the superuser `postgres`, the role `app` (owner of the tables, no superuser)
/// and the role `repl` (replication and reading) may connect from loopback without a
/// password, unless the [`Contents`] say otherwise.
#[derive(Debug)]
pub struct PostgresPair {
    pub source: PostgresServer,
    pub target: PostgresServer,
    /// Between `target` and `source`, where it was asked for.
    pub replication: Option<Gate>,
}

impl PostgresPair {
    /// Starts both servers below `folder` and waits until the standby streams.
    pub async fn start(folder: &Path, options: &PairOptions) -> Result<Self> {
        let bin = tools::postgres_bin().await?;
        let template = Template::find(bin, &options.databases, &options.contents).await?;
        let mut source = PostgresServer::at("blue", bin, folder)?;
        let mut target = PostgresServer::at("green", bin, folder)?;
        try_join(
            template.copy(template::SOURCE, &source),
            template.copy(template::TARGET, &target),
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
        source.configure(options.fsync)?;
        target.configure(options.fsync)?;
        target.follow(upstream, STANDBY_SLOT)?;
        source.start().await?;
        target.start().await?;
        streaming(&source, target.name()).await?;
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
    let slot = format!("{name}_slot");
    let mut standby = PostgresServer::at(name, tools::postgres_bin().await?, folder)?;
    standby.basebackup(primary, &slot).await?;
    standby.configure(true)?;
    standby.follow(primary.address(), &slot)?;
    standby.start().await?;
    streaming(primary, name).await?;
    Ok(standby)
}

/// Starts a primary that has nothing to do with any other: its own system identifier,
/// the same roles, and `databases` with their table.
pub async fn start_stranger(
    name: &str,
    folder: &Path,
    databases: &[String],
) -> Result<PostgresServer> {
    let mut stranger = PostgresServer::at(name, tools::postgres_bin().await?, folder)?;
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
    let question =
        "SELECT FROM pg_stat_replication WHERE application_name = $1 AND state = 'streaming'";
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
