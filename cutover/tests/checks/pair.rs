//! A primary and its standby for one test, with PostgreSQL's own limits and nothing in them.

use pointsman_catalog::{FenceLevel, Server, ServerName};
use pointsman_lab::{
    postgres::{Contents, PairOptions, PostgresPair, PostgresServer, Session, Walsender},
    scratch::Scratch,
};

/// Ends both servers when dropped.
pub(crate) struct Pair {
    pub(crate) source: Running,
    pub(crate) target: Running,
    _scratch: Scratch,
}

/// One running server.
pub(crate) struct Running(PostgresServer);

/// The limits whose headroom the checks look at, as PostgreSQL ships them, and a module that can
/// record statements.
const SETTINGS: &str = "shared_preload_libraries = 'pg_stat_statements'\nmax_connections = 100\nmax_wal_senders = 10\nmax_replication_slots = 10\n\
     max_worker_processes = 8\nmax_logical_replication_workers = 4\n\
     max_sync_workers_per_subscription = 2\nmax_prepared_transactions = 5\n";

impl Pair {
    pub(crate) async fn start() -> Self {
        Self::start_on(None).await
    }

    /// On servers of this major version, or of whichever is installed.
    pub(crate) async fn start_on(major: Option<u32>) -> Self {
        let options = PairOptions {
            major,
            databases: Vec::new(),
            contents: Contents {
                settings: SETTINGS.to_owned(),
                roles: String::new(),
                ..Contents::default()
            },
            fsync: false,
            ..PairOptions::default()
        };
        let scratch = Scratch::new().unwrap();
        let pair = PostgresPair::start(scratch.path(), &options).await.unwrap();
        let PostgresPair { source, target, .. } = pair;
        Self {
            source: Running(source),
            target: Running(target),
            _scratch: scratch,
        }
    }
}

impl Running {
    pub(crate) fn server(&self) -> Server {
        Server {
            name: ServerName::new(self.0.name()).unwrap(),
            endpoint: self.0.address().to_string().parse().unwrap(),
            control: String::new(),
            control_password: None,
            replication: None,
            replication_password: None,
            probe: None,
            probe_password: None,
            fence: FenceLevel::SqlHba,
        }
    }

    pub(crate) async fn connect(&self, role: &str, datname: &str) -> Session {
        self.0.client_as(role, datname).await.unwrap()
    }

    /// The superuser's way to database `postgres`.
    pub(crate) fn conninfo(&self) -> String {
        self.0.conninfo("postgres")
    }

    /// Runs statements, each by itself, as superuser.
    pub(crate) async fn execute(&self, datname: &str, statements: &[&str]) {
        let client = self.connect("postgres", datname).await;
        for statement in statements {
            client
                .batch_execute(statement)
                .await
                .unwrap_or_else(|error| panic!("{statement}: {error:?}"));
        }
    }

    /// A walsender in a database, which ends on drop.
    pub(crate) async fn walsender(&self, role: &str, datname: &str) -> Walsender {
        self.0.walsender(role, datname).await.unwrap()
    }
}
