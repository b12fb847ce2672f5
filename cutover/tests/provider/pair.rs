//! A primary and its streaming standby, made for one test and thrown away.

use std::{net::SocketAddr, sync::Arc};

use pointsman_catalog::{FenceLevel, Server, ServerName};
use pointsman_cutover::{
    ports::{ControlId, ControlledServer, DatabaseProvider, FenceRecord, ProviderError},
    providers::postgres::{PostgresProvider, SecretSources},
};
use pointsman_lab::{
    gate::Gate,
    patience,
    postgres::{self, Contents, Hosting, PairOptions, PostgresPair, PostgresServer, Walsender},
    scratch::Scratch,
};

pub(crate) const MOVING: [&str; 2] = ["orders", "billing"];

/// Odd on purpose: a comment, blanks, an empty line, a role list, a rule that already
/// rejects strangers.
const HBA: &str = "# serving\tä\n\
     local   all all trust\n\
     \n\
     host replication all 127.0.0.1/32 trust\n\
     host all  postgres,boss 127.0.0.1/32 trust # the masters\n\
     host all app,repl 127.0.0.1 255.255.255.255 trust\n\
     host all \"nobody\" all reject\n";

/// What is under test. Another one that reaches these servers must pass the same suite.
pub(crate) fn provider() -> Arc<dyn DatabaseProvider> {
    Arc::new(PostgresProvider::new(SecretSources::unrestricted()))
}

const SETTINGS: &str = "autovacuum_naptime = 1s\nlog_autovacuum_min_duration = 0\n";

const ROLES: &str = "CREATE ROLE app LOGIN; CREATE ROLE repl LOGIN REPLICATION; \
     CREATE ROLE boss SUPERUSER LOGIN";

/// A table of role `app`, which owns its database as well.
const SCHEMA: &str = "DO $$ BEGIN \
       EXECUTE format('ALTER DATABASE %I OWNER TO app', current_database()); \
     END $$; \
     GRANT CREATE ON SCHEMA public TO app; SET ROLE app; \
     CREATE TABLE items (id bigserial PRIMARY KEY, words text)";

/// Both servers end when dropped.
pub(crate) struct Pair {
    pub(crate) source: Running,
    pub(crate) target: Running,
    pair: PostgresPair,
    pub(crate) scratch: Scratch,
}

impl Pair {
    /// Databases `orders`, `billing` and `idle`, each with a table `items` of role `app`;
    /// superusers `postgres` (where a cloud runs the servers: `rdsadmin`) and `boss`.
    pub(crate) async fn start(fence: FenceLevel) -> Self {
        Self::start_at(fence, Hosting::from_environment().unwrap(), "", HBA).await
    }

    /// The same, with more settings and with another `pg_hba.conf`.
    pub(crate) async fn start_with(fence: FenceLevel, settings: &str, hba: &str) -> Self {
        let hosting = Hosting::from_environment().unwrap();
        Self::start_at(fence, hosting, settings, hba).await
    }

    /// The same, fenced as strictly as its control role can.
    pub(crate) async fn start_strict() -> Self {
        Self::start(match Hosting::from_environment().unwrap() {
            Hosting::SelfManaged => FenceLevel::SqlHba,
            Hosting::Managed => FenceLevel::Sql,
        })
        .await
    }

    /// The same where a cloud runs the servers. The control role is `master`, which is no
    /// superuser and does not own database `rdsadmin`.
    pub(crate) async fn start_without_superuser() -> Self {
        Self::start_at(FenceLevel::Sql, Hosting::Managed, "", HBA).await
    }

    /// Lets the control role read WAL where the version offers it.
    pub(crate) async fn let_read_wal(&self) {
        if self.source.hosting() == Hosting::Managed {
            self.pair.grant_promotion_and_wal().await.unwrap();
        } else if self.source.offers_walinspect().await {
            let create = "CREATE EXTENSION IF NOT EXISTS pg_walinspect";
            self.source.execute("postgres", create).await;
        }
    }

    async fn start_at(fence: FenceLevel, hosting: Hosting, settings: &str, hba: &str) -> Self {
        let options = PairOptions {
            databases: [MOVING[0], MOVING[1], "idle"].map(str::to_owned).to_vec(),
            contents: Contents {
                settings: format!("{SETTINGS}{settings}"),
                hba: hba.to_owned(),
                roles: ROLES.to_owned(),
                schema: SCHEMA.to_owned(),
            },
            hosting,
            fsync: false,
            ..PairOptions::default()
        };
        let scratch = Scratch::new().unwrap();
        let pair = PostgresPair::start(scratch.path(), &options).await.unwrap();
        pair.grant_promotion_and_wal().await.unwrap();
        let running = |postgres: &PostgresServer| Running {
            postgres: postgres.clone(),
            fence,
        };
        let started = Self {
            source: running(&pair.source),
            target: running(&pair.target),
            pair,
            scratch,
        };
        if hosting == Hosting::Managed {
            // Whether a write there is accepted is for the proof to say, whose tests have it.
            let silent = "ALTER TABLE heartbeat RENAME TO silent";
            started.source.execute("rdsadmin", silent).await;
        }
        started
    }
}

/// One running server.
pub(crate) struct Running {
    postgres: PostgresServer,
    fence: FenceLevel,
}

impl Running {
    pub(crate) fn server(&self) -> Server {
        let endpoint = self.postgres.address();
        Server {
            name: ServerName::new(self.postgres.name()).unwrap(),
            endpoint: endpoint.to_string().parse().unwrap(),
            control: self.postgres.control(endpoint),
            control_password: None,
            replication: Some(self.postgres.replication(endpoint)),
            replication_password: None,
            probe: None,
            probe_password: None,
            fence: self.fence,
        }
    }

    /// The same with another control role.
    pub(crate) fn server_as(&self, role: &str) -> Server {
        Server {
            control: self.postgres.login(role, self.postgres.address()),
            ..self.server()
        }
    }

    pub(crate) fn hosting(&self) -> Hosting {
        self.postgres.hosting()
    }

    pub(crate) fn superuser(&self) -> &'static str {
        self.hosting().superuser()
    }

    /// Databases that accept connections and that the control role does not own.
    pub(crate) fn not_closable(&self) -> &'static [&'static str] {
        match self.hosting() {
            Hosting::SelfManaged => &[],
            Hosting::Managed => &["rdsadmin"],
        }
    }

    /// Whether WAL can be read by SQL, which PostgreSQL 14 does not offer.
    pub(crate) async fn offers_walinspect(&self) -> bool {
        let session = self.connect(self.superuser(), "postgres").await.unwrap();
        let count = "SELECT count(*) FROM pg_available_extensions WHERE name = 'pg_walinspect'";
        session.ask(count).await == "1"
    }

    /// Takes control as migration `m` at `epoch`.
    pub(crate) async fn attach(&self, epoch: u64) -> ControlledServer {
        self.try_attach(epoch).await.unwrap()
    }

    pub(crate) async fn try_attach(&self, epoch: u64) -> Result<ControlledServer, ProviderError> {
        attach(&self.server(), epoch).await
    }

    /// The same through a gate.
    pub(crate) async fn attach_through(&self, gate: &Gate, epoch: u64) -> ControlledServer {
        let server = Server {
            control: self.postgres.control(gate.address()),
            ..self.server()
        };
        attach(&server, epoch).await.unwrap()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.postgres.address()
    }

    pub(crate) async fn fence_record(&self) -> Option<FenceRecord> {
        provider().fence_record(&self.server()).await.unwrap()
    }

    /// A connection over TCP, or the server's message.
    pub(crate) async fn connect(&self, role: &str, datname: &str) -> Result<Session, String> {
        let session = postgres::connect(&self.conninfo_as(role, datname)).await;
        session.map(Session).map_err(|error| {
            error
                .downcast_ref()
                .map_or_else(|| format!("{error:#}"), message)
        })
    }

    /// The same as from another machine.
    pub(crate) async fn connect_by_tcp(&self, role: &str, datname: &str) -> Session {
        let conninfo = format!("{} dbname={datname}", self.server_as(role).control);
        Session(postgres::connect(&conninfo).await.unwrap())
    }

    pub(crate) fn conninfo_as(&self, role: &str, datname: &str) -> String {
        self.postgres.conninfo_as(role, datname)
    }

    /// Runs statements in one simple query as superuser.
    pub(crate) async fn execute(&self, datname: &str, sql: &str) {
        let session = self.connect(self.superuser(), datname).await.unwrap();
        session.run(sql).await;
    }

    /// A session of the replication protocol with a database, which runs plain SQL as well.
    pub(crate) async fn walsender(&self, role: &str, datname: &str) -> Walsender {
        self.postgres.walsender(role, datname).await.unwrap()
    }

    pub(crate) async fn flush_half_a_record(&self) {
        self.postgres.flush_half_a_record().await.unwrap();
    }

    /// Loses its power and comes back.
    pub(crate) async fn crash(&mut self) {
        self.postgres.crash().await.unwrap();
        self.postgres.start().await.unwrap();
    }

    pub(crate) fn hba(&self) -> Vec<u8> {
        std::fs::read(self.postgres.data_folder().join("pg_hba.conf")).unwrap()
    }

    pub(crate) fn log(&self) -> String {
        self.postgres.log().unwrap()
    }
}

async fn attach(server: &Server, epoch: u64) -> Result<ControlledServer, ProviderError> {
    let control = ControlId {
        migration: "m".to_owned(),
        epoch,
    };
    provider().attach(server, &control).await
}

/// A connection that ends when dropped.
pub(crate) struct Session(postgres::Session);

impl Session {
    pub(crate) async fn run(&self, sql: &str) {
        if let Err(message) = self.try_run(sql).await {
            panic!("{sql}: {message}");
        }
    }

    pub(crate) async fn try_run(&self, sql: &str) -> Result<(), String> {
        let outcome = self.0.batch_execute(sql).await;
        outcome.map_err(|error| message(&error))
    }

    /// The first column of the one row, as text.
    pub(crate) async fn ask(&self, sql: &str) -> String {
        let sql = format!("SELECT ({sql})::text");
        let row = self.0.query_one(&sql, &[]).await.unwrap();
        row.get::<_, Option<String>>(0).unwrap_or_default()
    }
}

pub(crate) async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    patience::until(what, async || holds().await.then_some(())).await;
}

fn message(error: &tokio_postgres::Error) -> String {
    error
        .as_db_error()
        .map_or_else(|| error.to_string(), |db| db.message().to_owned())
}
