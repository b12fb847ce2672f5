//! Making a server's data directory, and what is written into it.

use std::{fmt::Write as _, fs, net::SocketAddr, os::unix::fs::DirBuilderExt, time::Duration};

use anyhow::{Context, Result};

use super::server::{Parts, PostgresServer};
use crate::process::Launch;

const CLONE_DEADLINE: Duration = Duration::from_secs(60);

impl PostgresServer {
    /// Writes the settings that are this server's alone; they override the shared ones.
    pub(crate) fn configure(&self, fsync: bool) -> Result<()> {
        let Parts {
            name,
            access,
            data,
            port,
            user,
            ..
        } = self.parts();
        let fsync = if fsync { "on" } else { "off" };
        let mut own = format!("port = {}\nfsync = {fsync}\n", port.number());
        if access.has_socket() {
            writeln!(own, "unix_socket_directories = '{}'", data.display())?;
        }
        if let Some(tls) = &access.tls {
            own.push_str(&tls.equip(name, data, *user)?);
        }
        self.write("lab.conf", &own)
    }

    /// Writes `pg_hba.conf`; `wanted` is what a self-managed server is to have.
    pub(crate) fn admit(&self, wanted: &str) -> Result<()> {
        self.write("pg_hba.conf", &self.access().hba(wanted))
    }

    /// Makes this server follow `source`, which it reaches at `at`, by `slot`, from its next
    /// start.
    pub(crate) fn follow(&self, source: &Self, at: SocketAddr, slot: &str) -> Result<()> {
        let conninfo = source.login(source.hosting().standby_role(), at);
        let name = self.name();
        let settings = format!(
            "primary_conninfo = '{conninfo} application_name={name}'\nprimary_slot_name = '{slot}'\n"
        );
        self.write("postgresql.auto.conf", &settings)
    }

    fn write(&self, file: &str, text: &str) -> Result<()> {
        fs::write(self.data_folder().join(file), text)
            .with_context(|| format!("{}: writing {file}", self.name()))
    }

    /// Makes the data directory of a new server with `initdb`.
    pub(crate) async fn initdb(&self) -> Result<()> {
        self.make_data_folder()?;
        let Parts {
            bin,
            data,
            log,
            user,
            ..
        } = self.parts();
        Launch::new("initdb", bin.join("initdb"), log.clone())
            .args(["--no-locale", "-E", "UTF8", "--auth=trust"])
            .args(self.hosting().initdb_args())
            .args(["--no-sync".as_ref(), "-D".as_ref(), data.as_os_str()])
            .user(*user)
            .run(CLONE_DEADLINE)
            .await
    }

    /// Fills the data directory with a base backup of `source`, which gets the replication
    /// slot `slot` for it.
    pub(crate) async fn basebackup(&self, source: &Self, slot: &str) -> Result<()> {
        self.make_data_folder()?;
        let Parts {
            bin,
            data,
            log,
            user,
            ..
        } = self.parts();
        let conninfo = source.conninfo("postgres");
        Launch::new("pg_basebackup", bin.join("pg_basebackup"), log.clone())
            .args(["-R", "-X", "stream", "-c", "fast", "--no-sync"])
            .args(["-C", "-S", slot, "-d", &conninfo, "-D"])
            .arg(data)
            .user(*user)
            .run(CLONE_DEADLINE)
            .await
    }

    fn make_data_folder(&self) -> Result<()> {
        let Parts { data, user, .. } = self.parts();
        fs::DirBuilder::new()
            .mode(0o700)
            .create(data)
            .with_context(|| format!("making {}", data.display()))?;
        if let Some(user) = user {
            user.give(data)?;
        }
        Ok(())
    }
}
