//! A server that takes TLS alone, with certificates and passwords of its own.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown},
    path::{Path, PathBuf},
};

use pointsman_catalog::{FenceLevel, Server, ServerName};
use pointsman_cutover::{
    ports::DatabaseProvider as _,
    providers::postgres::{PostgresProvider, SecretSources},
};
use pointsman_lab::{
    authority::{Authority, Issued},
    postgres::{PostgresServer, Session, start_stranger_from},
    scratch::Scratch,
    tools,
};
use serde_json::{Map, Value};

/// The name in its certificate. It resolves nowhere: strings give the address beside it.
pub(crate) const NAME: &str = "db.lab.example";
pub(crate) const PASSWORD: &str = "it's \\ a: secret";

/// `plain` must not use TLS, `certified` must have a certificate, `scram` a password.
const HBA: &str = "\
hostnossl all plain 127.0.0.0/8 trust
hostssl all plain 127.0.0.0/8 reject
hostssl all certified 127.0.0.0/8 cert
hostssl all scram 127.0.0.0/8 scram-sha-256
hostssl all all 127.0.0.0/8 trust
";

pub(crate) struct TlsServer {
    pub(crate) postgres: PostgresServer,
    /// Opened before TLS was demanded.
    admin: Session,
    pub(crate) authority: Authority,
    scratch: Scratch,
}

impl TlsServer {
    pub(crate) async fn start() -> Self {
        let bin = tools::postgres_bin().await.unwrap();
        Self::start_from(bin).await
    }

    /// On a server of this major version.
    pub(crate) async fn start_on(major: u32) -> Self {
        let bin = tools::postgres_bin_of(major).await.unwrap();
        Self::start_from(&bin).await
    }

    async fn start_from(bin: &Path) -> Self {
        let scratch = Scratch::new().unwrap();
        let postgres = start_stranger_from(bin, "db", scratch.path(), &[]);
        let postgres = postgres.await.unwrap();
        let admin = postgres.client("postgres").await.unwrap();
        let authority = Authority::new("databases").unwrap();
        authority.write(scratch.path().join("ca.pem")).unwrap();
        let server = Self {
            postgres,
            admin,
            authority,
            scratch,
        };
        let password = PASSWORD.replace('\'', "''");
        server
            .run(&format!(
                "CREATE ROLE plain SUPERUSER LOGIN; CREATE ROLE certified SUPERUSER LOGIN; \
                 CREATE ROLE scram SUPERUSER LOGIN PASSWORD '{password}'"
            ))
            .await;
        let hba = server.postgres.data_folder().join("pg_hba.conf");
        fs::write(hba, HBA).unwrap();
        let issued = server
            .authority
            .issue_for_database(server.folder(), "server", &[NAME]);
        server.present(&issued.unwrap()).await;
        server
    }

    /// Presents this certificate from now on.
    pub(crate) async fn present(&self, issued: &Issued) {
        let data = self.postgres.data_folder();
        let owner = fs::metadata(data).unwrap();
        for (from, name) in [(&issued.certificate, "s.pem"), (&issued.key, "s.key")] {
            let to = data.join(name);
            fs::copy(from, &to).unwrap();
            fs::set_permissions(&to, fs::Permissions::from_mode(0o600)).unwrap();
            chown(&to, Some(owner.uid()), Some(owner.gid())).unwrap();
        }
        let ca = data.join("ca.pem");
        fs::copy(self.file("ca.pem"), &ca).unwrap();
        let loaded = self.loaded().await;
        for set in [
            "ALTER SYSTEM SET ssl_cert_file = 's.pem'",
            "ALTER SYSTEM SET ssl_key_file = 's.key'",
            "ALTER SYSTEM SET ssl_ca_file = 'ca.pem'",
            "ALTER SYSTEM SET ssl = on",
            "SELECT pg_reload_conf()",
        ] {
            self.run(set).await;
        }
        super::pair::until("the certificate is loaded", async || {
            self.loaded().await != loaded
        })
        .await;
    }

    async fn loaded(&self) -> String {
        let sql = "SELECT pg_conf_load_time()::text";
        self.admin.query_one(sql, &[]).await.unwrap().get(0)
    }

    pub(crate) async fn run(&self, sql: &str) {
        self.admin.batch_execute(sql).await.unwrap();
    }

    /// The one number that a query returns.
    pub(crate) async fn number(&self, sql: &str) -> i64 {
        self.admin.query_one(sql, &[]).await.unwrap().get(0)
    }

    pub(crate) fn folder(&self) -> &Path {
        self.scratch.path()
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    /// Writes a file that its owner alone may read.
    pub(crate) fn private(&self, name: &str, text: &str) -> String {
        let path = self.file(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path.display().to_string()
    }

    /// Its declaration, with this control string; `{port}` is its port, `{dir}` the folder of the
    /// files.
    pub(crate) fn declared(&self, control: &str) -> Server {
        let address = self.postgres.address();
        let control = control
            .replace("{port}", &address.port().to_string())
            .replace("{dir}", &self.folder().display().to_string());
        Server {
            name: ServerName::new("db").unwrap(),
            endpoint: address.to_string().parse().unwrap(),
            control,
            control_password: None,
            replication: None,
            replication_password: None,
            probe: None,
            probe_password: None,
            fence: FenceLevel::Sql,
        }
    }

    /// The same, with this string for the write probe.
    pub(crate) fn probed_by(&self, probe: &str) -> Server {
        Server {
            probe: Some(self.declared(probe).control),
            ..self.declared("host=127.0.0.1 port={port} user=control")
        }
    }

    pub(crate) fn provider(&self) -> PostgresProvider {
        PostgresProvider::new(SecretSources {
            folders: vec![self.folder().to_owned()],
            environment: vec!["CARGO_PKG_*".to_owned()],
        })
    }

    /// What the server says of the session that `control` opens, or why there is none.
    pub(crate) async fn session(&self, control: &str) -> Result<Map<String, Value>, String> {
        self.session_of(&self.declared(control)).await
    }

    pub(crate) async fn session_of(&self, server: &Server) -> Result<Map<String, Value>, String> {
        let inspector = self.provider().inspect(server).await;
        let inspector = inspector.map_err(|error| error.to_string())?;
        let rows = inspector.rows("postgres", SESSION).await;
        let rows = rows.map_err(|error| error.to_string())?;
        rows.into_iter().next().ok_or_else(|| "no row".to_owned())
    }
}

const SESSION: &str = "SELECT session_user::text AS role, ssl, version, client_dn AS client \
     FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
