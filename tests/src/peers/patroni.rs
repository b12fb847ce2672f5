//! A cluster of two servers that Patroni looks after, with an etcd of its own.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use pointsman_lab::{
    ports::Port,
    postgres::{Contents, Session, connect},
    process::{Launch, Process, ServerUser, Signal},
};
use rustix::process::{Pid, kill_process};
use tokio::time::{Instant, sleep};

use super::{rest, rest::Cluster, tools::Tools};

/// Two servers, `blue` and `green`. The first leads at the start.
#[derive(Debug)]
pub(super) struct Patroni {
    pub(super) blue: Node,
    pub(super) green: Node,
    // Ends after its clients.
    _etcd: Etcd,
}

/// One server with the Patroni beside it.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) name: &'static str,
    postgres: Port,
    rest: Port,
    data: PathBuf,
    process: Option<Process>,
}

#[derive(Debug)]
struct Etcd {
    client: Port,
    _peer: Port,
    _process: Process,
}

impl Patroni {
    /// Starts a cluster below `folder` that has `databases`, and waits until its replica streams.
    pub(super) async fn start(folder: &Path, tools: &Tools, databases: &[&str]) -> Result<Self> {
        let user = ServerUser::find()?;
        let etcd = Etcd::start(folder, &tools.etcd, user)?;
        let blue = Node::start("blue", folder, tools, etcd.client.on_loopback(), user)?;
        blue.until("leads", |cluster| cluster.is_led_by("blue"))
            .await?;
        fill(&blue, databases).await?;
        let green = Node::start("green", folder, tools, etcd.client.on_loopback(), user)?;
        green
            .until("streams", |cluster| cluster.streams_to("green"))
            .await?;
        Ok(Self {
            blue,
            green,
            _etcd: etcd,
        })
    }

    /// Ends both servers in order, the replica first.
    pub(super) async fn stop(mut self, leader: &str) -> Result<()> {
        let mut nodes = [&mut self.blue, &mut self.green];
        nodes.sort_by_key(|node| node.name == leader);
        for node in nodes {
            if let Some(process) = node.process.take() {
                process.signal(Signal::Term);
                process.ended(PATIENCE).await?;
            }
        }
        Ok(())
    }
}

impl Node {
    fn start(
        name: &'static str,
        folder: &Path,
        tools: &Tools,
        etcd: SocketAddr,
        user: Option<ServerUser>,
    ) -> Result<Self> {
        let home = folder.join(name);
        fs::create_dir(&home).with_context(|| format!("making {}", home.display()))?;
        if let Some(user) = user {
            user.give(&home)?;
        }
        let (postgres, rest) = (Port::reserve()?, Port::reserve()?);
        let file = folder.join(format!("{name}.yml"));
        let settings = settings(name, &home, &tools.postgres_bin, &postgres, &rest, etcd);
        fs::write(&file, settings)?;
        let process = Launch::new(
            format!("Patroni {name}"),
            &tools.patroni,
            folder.join(format!("{name}.log")),
        )
        .arg(file)
        .user(user)
        // Patroni shuts its server down then.
        .end_signal(Signal::Term)
        .start()?;
        Ok(Self {
            name,
            postgres,
            rest,
            data: home.join("data"),
            process: Some(process),
        })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.postgres.on_loopback()
    }

    pub(super) fn rest(&self) -> SocketAddr {
        self.rest.on_loopback()
    }

    /// A session of the superuser.
    pub(super) async fn session(&self, datname: &str) -> Result<Session> {
        let port = self.postgres.number();
        let place = format!("host=127.0.0.1 port={port} user=postgres dbname={datname}");
        let session = connect(&place).await;
        session.with_context(|| format!("connecting to {datname} on {}", self.name))
    }

    /// Has this node, which leads, hand over to `candidate`.
    pub(super) async fn hand_over(&self, candidate: &Self) -> Result<()> {
        rest::switchover(self.rest(), self.name, candidate.name).await
    }

    /// Waits until the cluster is as it is to be, as this node sees it.
    pub(super) async fn until(&self, what: &str, holds: impl Fn(&Cluster) -> bool) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let seen = Cluster::ask(self.rest()).await;
            if seen.as_ref().is_ok_and(&holds) {
                return Ok(());
            }
            if Instant::now() > deadline {
                let log = self.process.as_ref().map(Process::log_tail);
                bail!(
                    "{} {what}: not within {PATIENCE:?}; the cluster: {seen:?}\n{}",
                    self.name,
                    log.unwrap_or_default()
                );
            }
            sleep(LOOK_AGAIN).await;
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.process.take());
        // Patroni's server is no child of Patroni's and outlives one that was killed.
        let text = fs::read_to_string(self.data.join("postmaster.pid")).unwrap_or_default();
        let pid = text.lines().next().and_then(|pid| pid.parse().ok());
        if let Some(pid) = pid.and_then(Pid::from_raw) {
            // Best effort: it may just have ended.
            kill_process(pid, rustix::process::Signal::QUIT).ok();
        }
    }
}

impl Etcd {
    fn start(folder: &Path, program: &Path, user: Option<ServerUser>) -> Result<Self> {
        let home = folder.join("etcd");
        fs::create_dir(&home).with_context(|| format!("making {}", home.display()))?;
        if let Some(user) = user {
            user.give(&home)?;
        }
        let (client, peer) = (Port::reserve()?, Port::reserve()?);
        let serving = format!("http://{}", client.on_loopback());
        let gossip = format!("http://{}", peer.on_loopback());
        let process = Launch::new("etcd", program, folder.join("etcd.log"))
            .args(["--name", "lab", "--data-dir"])
            .arg(home.join("data"))
            .args(["--listen-client-urls", &serving])
            .args(["--advertise-client-urls", &serving])
            .args(["--listen-peer-urls", &gossip])
            .args(["--initial-advertise-peer-urls", &gossip])
            .args(["--initial-cluster", &format!("lab={gossip}")])
            .user(user)
            .end_signal(Signal::Term)
            .start()?;
        Ok(Self {
            client,
            _peer: peer,
            _process: process,
        })
    }
}

/// Makes the roles, and each database with its table.
async fn fill(leader: &Node, databases: &[&str]) -> Result<()> {
    let Contents { roles, schema, .. } = Contents::default();
    let session = leader.session("postgres").await?;
    session.batch_execute(&roles).await?;
    for datname in databases {
        let create = format!("CREATE DATABASE \"{datname}\"");
        session.batch_execute(&create).await?;
        let inside = leader.session(datname).await?;
        inside.batch_execute(&schema).await?;
    }
    Ok(())
}

/// A node's settings: Patroni's own defaults for its loop and its leases, the lab's for PostgreSQL.
fn settings(
    name: &str,
    home: &Path,
    bin: &Path,
    postgres: &Port,
    rest: &Port,
    etcd: SocketAddr,
) -> String {
    let (postgres, rest) = (postgres.on_loopback(), rest.on_loopback());
    let (home, bin) = (home.display(), bin.display());
    format!(
        "\
scope: peers
name: {name}
restapi:
  listen: {rest}
  connect_address: {rest}
etcd3:
  host: {etcd}
bootstrap:
  dcs:
    ttl: 30
    loop_wait: 10
    retry_timeout: 10
    postgresql:
      use_pg_rewind: true
      use_slots: true
      parameters:
        max_connections: 200
        shared_buffers: 64MB
        wal_level: logical
        max_wal_senders: 20
        max_replication_slots: 20
        min_wal_size: 32MB
        max_wal_size: 1GB
        checkpoint_timeout: 30min
        hot_standby_feedback: 'on'
        wal_log_hints: 'on'
        wal_retrieve_retry_interval: 100ms
        fsync: 'on'
  initdb:
    - encoding: UTF8
    - no-locale
    - auth: trust
postgresql:
  listen: {postgres}
  connect_address: {postgres}
  bin_dir: {bin}
  data_dir: {home}/data
  pgpass: {home}/pgpass
  basebackup:
    - checkpoint: fast
  authentication:
    superuser:
      username: postgres
    replication:
      username: replicator
  parameters:
    unix_socket_directories: '{home}'
  pg_hba:
    - local all all trust
    - host replication all 127.0.0.0/8 trust
    - host all all 127.0.0.0/8 trust
"
    )
}

/// A base backup and Patroni's loop of 10 s are in it.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);
const LOOK_AGAIN: Duration = Duration::from_millis(20);
