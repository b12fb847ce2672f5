//! One PostgreSQL server of the lab's.

use std::{
    fs,
    net::SocketAddr,
    ops::Deref,
    os::unix::fs::{DirBuilderExt, chown},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tokio_postgres::{Client, NoTls};

use crate::{
    ports::Port,
    process::{self, Launch, Process, ServerUser, Signal},
};

const START_DEADLINE: Duration = Duration::from_secs(30);
const STOP_DEADLINE: Duration = Duration::from_secs(30);
pub(super) const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
const CLONE_DEADLINE: Duration = Duration::from_secs(60);

/// How often a server that is coming up or going down is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// A PostgreSQL server on `127.0.0.1`, with trust authentication for everybody there.
#[derive(Debug)]
pub struct PostgresServer {
    name: String,
    bin: PathBuf,
    data: PathBuf,
    log: PathBuf,
    port: Port,
    user: Option<ServerUser>,
    process: Option<Process>,
}

/// A session of the lab's own; it ends on drop.
#[derive(Debug)]
pub struct Session {
    client: Client,
    // Drives the connection.
    _driver: JoinSet<()>,
}

impl Deref for Session {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl PostgresServer {
    /// The server whose data directory is `folder/name`; nothing is started or made.
    pub(crate) fn at(name: &str, bin: &Path, folder: &Path) -> Result<Self> {
        Ok(Self {
            name: name.to_owned(),
            bin: bin.to_path_buf(),
            data: folder.join(name),
            log: folder.join(format!("{name}.log")),
            port: Port::reserve()?,
            user: ServerUser::find()?,
            process: None,
        })
    }

    /// Writes the settings that are this server's alone; they override the shared ones.
    pub(crate) fn configure(&self, fsync: bool) -> Result<()> {
        let own = format!(
            "port = {}\nfsync = {}\n",
            self.port.number(),
            if fsync { "on" } else { "off" }
        );
        fs::write(self.data.join("lab.conf"), own)
            .with_context(|| format!("{}: writing lab.conf", self.name))
    }

    /// Makes this server follow the one at `source`, by `slot`, from its next start.
    pub(crate) fn follow(&self, source: SocketAddr, slot: &str) -> Result<()> {
        let settings = format!(
            "primary_conninfo = 'host={} port={} user=postgres application_name={}'\nprimary_slot_name = '{slot}'\n",
            source.ip(),
            source.port(),
            self.name
        );
        fs::write(self.data.join("postgresql.auto.conf"), settings)
            .with_context(|| format!("{}: writing postgresql.auto.conf", self.name))
    }

    /// Makes the data directory of a new server with `initdb`.
    pub(crate) async fn initdb(&self) -> Result<()> {
        self.make_data_folder()?;
        let data = self.data.as_os_str();
        let args = [
            "--no-locale",
            "-E",
            "UTF8",
            "-U",
            "postgres",
            "--auth=trust",
        ];
        Launch::new("initdb", self.bin.join("initdb"), self.log.clone())
            .args(args)
            .args(["--no-sync".as_ref(), "-D".as_ref(), data])
            .user(self.user)
            .run(CLONE_DEADLINE)
            .await
    }

    /// Fills the data directory with a base backup of `source`, which gets the replication
    /// slot `slot` for it.
    pub(crate) async fn basebackup(&self, source: &Self, slot: &str) -> Result<()> {
        self.make_data_folder()?;
        let data = self.data.to_string_lossy();
        let conninfo = source.conninfo("postgres");
        let program = self.bin.join("pg_basebackup");
        Launch::new("pg_basebackup", program, self.log.clone())
            .args(["-R", "-X", "stream", "-c", "fast", "--no-sync"])
            .args(["-C", "-S", slot, "-d", &conninfo, "-D", &data])
            .user(self.user)
            .run(CLONE_DEADLINE)
            .await
    }

    fn make_data_folder(&self) -> Result<()> {
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&self.data)
            .with_context(|| format!("making {}", self.data.display()))?;
        if let Some(user) = self.user {
            chown(&self.data, Some(user.uid), Some(user.gid))
                .with_context(|| format!("giving {} to its server", self.data.display()))?;
        }
        Ok(())
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.port.on_loopback()
    }

    #[must_use]
    pub fn data_folder(&self) -> &Path {
        &self.data
    }

    /// The process number of the postmaster, when the server runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// Connection string of the superuser `postgres` to `database`.
    #[must_use]
    pub fn conninfo(&self, database: &str) -> String {
        self.conninfo_as("postgres", database)
    }

    /// Connection string of `user` to `database`.
    #[must_use]
    pub fn conninfo_as(&self, user: &str, database: &str) -> String {
        let at = self.address();
        format!(
            "host={} port={} user={user} dbname={database}",
            at.ip(),
            at.port()
        )
    }

    /// A session of the superuser `postgres` in `database`.
    pub async fn client(&self, database: &str) -> Result<Session> {
        self.client_as("postgres", database).await
    }

    /// A session of `user` in `database`.
    pub async fn client_as(&self, user: &str, database: &str) -> Result<Session> {
        connect(&self.conninfo_as(user, database))
            .await
            .with_context(|| format!("connecting as {user} to {database} on {}", self.name))
    }

    /// Starts the server and waits until it accepts connections.
    pub async fn start(&mut self) -> Result<()> {
        if self.process.as_ref().is_some_and(Process::is_running) {
            bail!("{} runs already", self.name);
        }
        let process = Launch::new(&self.name, self.bin.join("postgres"), self.log.clone())
            .args(["-D".as_ref(), self.data.as_os_str()])
            .user(self.user)
            .end_signal(Signal::Quit)
            .start()?;
        let started = self.accepts_connections(&process).await;
        self.process = Some(process);
        started
    }

    async fn accepts_connections(&self, process: &Process) -> Result<()> {
        let deadline = Instant::now() + START_DEADLINE;
        loop {
            let Err(refusal) = self.client("postgres").await else {
                return Ok(());
            };
            if !process.is_running() {
                bail!(
                    "{} ended instead of starting\n{}",
                    self.name,
                    process.log_tail()
                );
            }
            if Instant::now() > deadline {
                let tail = process.log_tail();
                return Err(refusal.context(format!(
                    "{} accepts no connection {START_DEADLINE:?} after its start\n{tail}",
                    self.name
                )));
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// Shuts the server down in order (fast mode).
    pub async fn stop(&mut self) -> Result<()> {
        if let Some(process) = self.process.take() {
            process.signal(Signal::Int);
            process.ended(STOP_DEADLINE).await?;
        }
        Ok(())
    }

    /// Ends the server as a loss of power would, every process at once (`kill -9`), and
    /// waits until all are gone. [`Self::start`] brings it back.
    pub async fn crash(&mut self) -> Result<()> {
        if let Some(process) = self.process.take() {
            // Frozen first, so that the postmaster starts nobody while it is counted.
            process.signal(Signal::Stop);
            let family = process::family(process.pid());
            process::signal_all(Signal::Kill, &family);
            process.ended(STOP_DEADLINE).await?;
            let deadline = Instant::now() + STOP_DEADLINE;
            while family.iter().any(|pid| process::is_alive(*pid)) {
                if Instant::now() > deadline {
                    bail!("{}: processes outlived kill -9", self.name);
                }
                sleep(LOOK_AGAIN).await;
            }
        }
        Ok(())
    }

    /// Freezes every process of the server: it keeps its connections and answers nothing.
    pub fn freeze(&self) {
        if let Some(process) = &self.process {
            process.signal(Signal::Stop);
            process::signal_all(Signal::Stop, &process::family(process.pid()));
        }
    }

    /// Lets a frozen server go on.
    pub fn thaw(&self) {
        if let Some(process) = &self.process {
            process::signal_all(Signal::Cont, &process::family(process.pid()));
        }
    }

    /// Its whole log.
    pub fn log(&self) -> Result<String> {
        fs::read_to_string(&self.log).with_context(|| format!("reading {}", self.log.display()))
    }

    /// The last lines of its log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        process::tail(&self.log)
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        // Frozen backends would outlive an immediate shutdown.
        self.thaw();
    }
}

/// Opens a session of the lab's own.
pub async fn connect(conninfo: &str) -> Result<Session> {
    let mut config: tokio_postgres::Config = conninfo.parse()?;
    config.application_name("lab");
    let (client, connection) = timeout(CONNECT_DEADLINE, config.connect(NoTls))
        .await
        .with_context(|| format!("no answer within {CONNECT_DEADLINE:?}"))??;
    let mut driver = JoinSet::new();
    driver.spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a session of the lab's ended");
        }
    });
    Ok(Session {
        client,
        _driver: driver,
    })
}
