//! One PostgreSQL server of the lab's.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use anyhow::{Context, Result};
use tokio::task::JoinSet;

use super::{
    access::Access,
    hosting::Hosting,
    session::{Session, connect},
    tls::{ClientTls, Tls},
    walsender::Walsender,
};
use crate::{
    ports::Port,
    process::{Process, ServerUser},
};

/// A PostgreSQL server on `127.0.0.1`. Each clone is the same server, which ends with the last.
#[derive(Clone, Debug)]
pub struct PostgresServer(Arc<Parts>);

/// What a server consists of.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) name: String,
    pub(super) access: Access,
    pub(super) bin: PathBuf,
    pub(super) data: PathBuf,
    pub(super) log: PathBuf,
    pub(super) port: Port,
    pub(super) user: Option<ServerUser>,
    pub(super) process: Mutex<Option<Arc<Process>>>,
    /// Of the superuser of a managed server.
    pub(super) heartbeat: Mutex<Option<JoinSet<()>>>,
}

impl PostgresServer {
    /// The server whose data directory is `folder/name`; nothing is started or made.
    pub(crate) fn at(name: &str, bin: &Path, folder: &Path, access: Access) -> Result<Self> {
        Ok(Self(Arc::new(Parts {
            name: name.to_owned(),
            access,
            bin: bin.to_path_buf(),
            data: folder.join(name),
            log: folder.join(format!("{name}.log")),
            port: Port::reserve()?,
            user: ServerUser::find()?,
            process: Mutex::default(),
            heartbeat: Mutex::default(),
        })))
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.0.port.on_loopback()
    }

    #[must_use]
    pub fn data_folder(&self) -> &Path {
        &self.0.data
    }

    pub(super) fn parts(&self) -> &Parts {
        &self.0
    }

    pub(super) fn access(&self) -> &Access {
        &self.0.access
    }

    /// Who runs it.
    #[must_use]
    pub fn hosting(&self) -> Hosting {
        self.0.access.hosting
    }

    /// The certificate of the authority behind this server's, where it has one.
    #[must_use]
    pub fn root_certificate(&self) -> Option<&Path> {
        self.0.access.tls.as_ref().map(Tls::root)
    }

    /// How applications verify it, where it has a certificate.
    pub fn client_tls(&self) -> Result<Option<ClientTls>> {
        self.0.access.tls.as_ref().map(Tls::client).transpose()
    }

    /// Connection string of the control role, as an operator writes it, with `at` as the
    /// address: the server's own, or that of a gate before it.
    #[must_use]
    pub fn control(&self, at: SocketAddr) -> String {
        self.login(self.hosting().control_role(), at)
    }

    /// Connection string of the replication role, likewise.
    #[must_use]
    pub fn replication(&self, at: SocketAddr) -> String {
        self.login("repl", at)
    }

    /// Connection string of `role`, likewise.
    #[must_use]
    pub fn login(&self, role: &str, at: SocketAddr) -> String {
        self.0.access.login(&self.0.name, role, at)
    }

    /// The lab's own connection string as superuser to `database`.
    #[must_use]
    pub fn conninfo(&self, database: &str) -> String {
        self.conninfo_as(self.hosting().superuser(), database)
    }

    /// The lab's own connection string as `user` to `database`.
    #[must_use]
    pub fn conninfo_as(&self, user: &str, database: &str) -> String {
        let own = self.0.access.own(user, self.address(), &self.0.data);
        format!("{own} dbname={database}")
    }

    /// A walsender of `user` in `database`.
    pub async fn walsender(&self, user: &str, database: &str) -> Result<Walsender> {
        if self.0.access.has_socket() {
            let socket = format!(".s.PGSQL.{}", self.0.port.number());
            Walsender::on_socket(&self.0.data.join(socket), user, database).await
        } else {
            Walsender::connect(self.address(), user, database).await
        }
    }

    /// A session of the superuser in `database`.
    pub async fn client(&self, database: &str) -> Result<Session> {
        self.client_as(self.hosting().superuser(), database).await
    }

    /// A session of `user` in `database`.
    pub async fn client_as(&self, user: &str, database: &str) -> Result<Session> {
        connect(&self.conninfo_as(user, database))
            .await
            .with_context(|| format!("connecting as {user} to {database} on {}", self.0.name))
    }
}
