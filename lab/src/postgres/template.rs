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

use super::{
    PairOptions, access::Access, contents::Contents, heartbeat, hosting::Hosting,
    server::PostgresServer,
};
use crate::{
    process::Launch,
    scratch::{self, Storage},
};

/// Names of the two data directories in a template.
pub(crate) const SOURCE: &str = "source";
pub(crate) const TARGET: &str = "target";

/// The replication slot on the source that its standby uses.
pub const STANDBY_SLOT: &str = "standby_slot";

/// Grows when a template is made in another way.
const FORM: u32 = 2;

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
    /// Finds the template for `options`, made by whichever process needs it first.
    pub(crate) async fn find(bin: &Path, options: &PairOptions) -> Result<Self> {
        let templates = scratch::shared_folder("templates")?;
        let name = name(bin, options)?;
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
            build(bin, options, &unfinished)
                .await
                .context("making the PostgreSQL template")?;
            fs::rename(&unfinished, &path)?;
        }
        Ok(Self { path })
    }

    /// Copies data directory `which` to that of `server`, which lies on `storage`.
    pub(crate) async fn copy(
        &self,
        which: &str,
        server: &PostgresServer,
        storage: Storage,
    ) -> Result<()> {
        copy(&self.path.join(which), server, storage).await
    }
}

/// Two templates share a name only if they hold the same.
fn name(bin: &Path, options: &PairOptions) -> Result<String> {
    let version = Command::new(bin.join("postgres")).arg("-V").output()?;
    let PairOptions {
        databases,
        contents,
        hosting,
        ..
    } = options;
    let mut hasher = DefaultHasher::new();
    version.stdout.hash(&mut hasher);
    (databases, contents, hosting, hosting.roles()).hash(&mut hasher);
    (
        SETTINGS,
        hosting.settings(),
        heartbeat::SCHEMA,
        STANDBY_SLOT,
        FORM,
    )
        .hash(&mut hasher);
    Ok(format!("{:016x}", hasher.finish()))
}

/// The standby is a copy of a primary that was shut down in order, as good as a base backup.
async fn build(bin: &Path, options: &PairOptions, folder: &Path) -> Result<()> {
    let access = Access::new(options.hosting, None);
    let source = PostgresServer::at(SOURCE, bin, folder, access.clone())?;
    create(&source, &options.contents, false).await?;
    source.start().await?;
    fill(&source, &options.databases, &options.contents).await?;
    let slot = "SELECT pg_create_physical_replication_slot($1, true)";
    let session = source.client("postgres").await?;
    session.execute(slot, &[&STANDBY_SLOT]).await?;
    // As after a base backup: no server makes a segment of WAL in the middle of what is measured.
    session.batch_execute("SELECT pg_switch_wal()").await?;
    drop(session);
    source.stop().await?;

    let target = PostgresServer::at(TARGET, bin, folder, access)?;
    copy(source.data_folder(), &target, Storage::Memory).await?;
    fs::remove_dir_all(target.data_folder().join("pg_replslot").join(STANDBY_SLOT))?;
    fs::write(target.data_folder().join("standby.signal"), "")?;
    Ok(())
}

/// Copies a data directory to that of `server`. Most of its WAL is still empty: in memory it stays a
/// hole.
async fn copy(from: &Path, server: &PostgresServer, storage: Storage) -> Result<()> {
    let log = server.data_folder().with_extension("log");
    let holes = match storage {
        Storage::Memory => "--sparse=always",
        Storage::Disk => "--sparse=never",
    };
    Launch::new("cp", "cp", log)
        .args(["-a", holes])
        .args([from, server.data_folder()])
        .run(COPY_DEADLINE)
        .await
}

/// Makes a server of its own, with no databases and a system identifier like no other's.
pub(crate) async fn create(
    server: &PostgresServer,
    contents: &Contents,
    fsync: bool,
) -> Result<()> {
    server.initdb().await?;
    let hosting = server.hosting().settings();
    fs::OpenOptions::new()
        .append(true)
        .open(server.data_folder().join("postgresql.conf"))?
        .write_all(format!("{SETTINGS}{hosting}{}", contents.settings).as_bytes())?;
    server.admit(&contents.hba)?;
    server.configure(fsync)
}

/// Makes the roles, and each database with its tables.
pub(crate) async fn fill(
    server: &PostgresServer,
    databases: &[String],
    contents: &Contents,
) -> Result<()> {
    let hosting = server.hosting();
    let session = server.client("postgres").await?;
    session.batch_execute(&contents.roles).await?;
    for statement in hosting.roles() {
        session.batch_execute(statement).await?;
    }
    if hosting == Hosting::Managed {
        let own = server.client("rdsadmin").await?;
        own.batch_execute(heartbeat::SCHEMA).await?;
    }
    let options = hosting.database_options();
    for database in databases {
        session
            .batch_execute(&format!("CREATE DATABASE \"{database}\" {options}"))
            .await?;
        let inside = server.client(database).await?;
        inside.batch_execute(&contents.schema).await?;
    }
    Ok(())
}
