//! Data directories made once and copied for every lab: `initdb`, a base backup and the
//! creation of the databases take seconds, the copy a fraction of one.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    io::Write,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result};
use tokio::{task, time::timeout};

use super::{contents::Contents, server::PostgresServer};
use crate::{process::Launch, scratch};

/// Names of the two data directories in a template.
pub(crate) const SOURCE: &str = "source";
pub(crate) const TARGET: &str = "target";

/// The replication slot on the source that its standby uses.
pub const STANDBY_SLOT: &str = "standby_slot";

const BUILD_DEADLINE: Duration = Duration::from_mins(3);
const COPY_DEADLINE: Duration = Duration::from_secs(60);

/// Shared by both servers. `include_if_exists` brings in what is one server's alone.
const SETTINGS: &str = "
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 200
shared_buffers = 64MB
wal_level = logical
max_wal_senders = 20
max_replication_slots = 20
max_logical_replication_workers = 8
max_sync_workers_per_subscription = 2
max_worker_processes = 16
max_prepared_transactions = 20
min_wal_size = 32MB
max_wal_size = 1GB
checkpoint_timeout = 30min
hot_standby = on
hot_standby_feedback = on
wal_log_hints = on
# The default of 5 s is also how long a standby may stay behind after a broken connection.
wal_retrieve_retry_interval = 100ms
log_line_prefix = '%m [%p] %q%u@%d %a '
include_if_exists = 'lab.conf'
";

/// A primary and its standby, shut down in order; never changed once it is complete.
#[derive(Debug)]
pub(crate) struct Template {
    path: PathBuf,
}

impl Template {
    /// Finds the template for `contents`, made by whichever process needs it first.
    pub(crate) async fn find(
        bin: &Path,
        databases: &[String],
        contents: &Contents,
    ) -> Result<Self> {
        let templates = scratch::shared_folder("templates")?;
        let name = name(bin, databases, contents)?;
        let path = templates.join(&name);
        let lock = scratch::lock_file(&templates.join(format!("{name}.lock")))?;
        let locking = task::spawn_blocking(move || lock.lock().map(|()| lock));
        let _lock = timeout(BUILD_DEADLINE, locking)
            .await
            .context("waiting for another process to make the PostgreSQL template")???;
        if !path.exists() {
            let unfinished = templates.join(format!("{name}.unfinished"));
            if unfinished.exists() {
                fs::remove_dir_all(&unfinished)?;
            }
            fs::create_dir(&unfinished)?;
            build(bin, databases, contents, &unfinished)
                .await
                .context("making the PostgreSQL template")?;
            fs::rename(&unfinished, &path)?;
        }
        Ok(Self { path })
    }

    /// Copies data directory `which` to that of `server`.
    pub(crate) async fn copy(&self, which: &str, server: &PostgresServer) -> Result<()> {
        let log = server.data_folder().with_extension("log");
        Launch::new("cp", "cp", log)
            .arg("-a")
            .arg(self.path.join(which))
            .arg(server.data_folder())
            .run(COPY_DEADLINE)
            .await
    }
}

/// Two templates share a name only if they hold the same.
fn name(bin: &Path, databases: &[String], contents: &Contents) -> Result<String> {
    let version = Command::new(bin.join("postgres")).arg("-V").output()?;
    let mut hasher = DefaultHasher::new();
    version.stdout.hash(&mut hasher);
    databases.hash(&mut hasher);
    (SETTINGS, contents, STANDBY_SLOT).hash(&mut hasher);
    Ok(format!("{:016x}", hasher.finish()))
}

async fn build(bin: &Path, databases: &[String], contents: &Contents, folder: &Path) -> Result<()> {
    let mut source = PostgresServer::at(SOURCE, bin, folder)?;
    create(&source, contents, false).await?;
    source.start().await?;
    fill(&source, databases, contents).await?;

    let mut target = PostgresServer::at(TARGET, bin, folder)?;
    target.basebackup(&source, STANDBY_SLOT).await?;
    target.configure(false)?;
    target.follow(source.address(), STANDBY_SLOT)?;
    target.start().await?;
    super::streaming(&source, TARGET).await?;

    // In this order, so that the standby has everything.
    source.stop().await?;
    target.stop().await
}

/// Makes a server of its own, with no databases and a system identifier like no other's.
pub(crate) async fn create(
    server: &PostgresServer,
    contents: &Contents,
    fsync: bool,
) -> Result<()> {
    server.initdb().await?;
    let data = server.data_folder();
    fs::OpenOptions::new()
        .append(true)
        .open(data.join("postgresql.conf"))?
        .write_all(format!("{SETTINGS}{}", contents.settings).as_bytes())?;
    fs::write(data.join("pg_hba.conf"), &contents.hba)?;
    server.configure(fsync)
}

/// Makes the roles, and each database with its tables.
pub(crate) async fn fill(
    server: &PostgresServer,
    databases: &[String],
    contents: &Contents,
) -> Result<()> {
    let session = server.client("postgres").await?;
    session.batch_execute(&contents.roles).await?;
    for database in databases {
        session
            .batch_execute(&format!("CREATE DATABASE \"{database}\""))
            .await?;
        let inside = server.client(database).await?;
        inside.batch_execute(&contents.schema).await?;
    }
    Ok(())
}
