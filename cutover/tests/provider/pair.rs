//! A primary and its streaming standby, made for one test and thrown away.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

use pointsman_catalog::{FenceLevel, Server, ServerName};
use pointsman_cutover::{
    ports::{ControlId, ControlledServer, DatabaseProvider, FenceRecord, ProviderError},
    providers::postgres::PostgresProvider,
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use tokio_postgres::{Client, NoTls};

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
    Arc::new(PostgresProvider)
}

/// Both servers end when dropped.
pub(crate) struct Pair {
    pub(crate) source: Running,
    pub(crate) target: Running,
    directory: PathBuf,
}

impl Pair {
    /// Databases `orders`, `billing` and `idle`, each with a table `items` of role `app`;
    /// superusers `postgres` and `boss`.
    pub(crate) async fn start(fence: FenceLevel) -> Self {
        let port = free_port();
        let directory = scratch().join(format!("provider-{port}"));
        fs::create_dir_all(&directory).unwrap();
        own(&directory);
        let (blue, green) = (directory.join("blue"), directory.join("green"));
        run(tool("initdb")
            .args(["-A", "trust", "-U", "postgres", "-N", "-E", "UTF8"])
            .args(["--no-locale", "-D"])
            .arg(&blue));
        fs::write(blue.join("pg_hba.conf"), HBA).unwrap();
        append(
            &blue.join("postgresql.conf"),
            "wal_level = logical\nfsync = off\nshared_buffers = 16MB\nhot_standby_feedback = on\n\
             max_prepared_transactions = 5\nwal_retrieve_retry_interval = 100ms\n\
             listen_addresses = '127.0.0.1'\nunix_socket_directories = ''\n\
             autovacuum_naptime = 1s\nlog_autovacuum_min_duration = 0\n",
        );
        let source = Running::start("blue", &blue, port, fence).await;
        source.fill().await;
        run(tool("pg_basebackup")
            .args(["-h", "127.0.0.1", "-U", "postgres", "-c", "fast"])
            .args(["-R", "-C", "-S", "green", "-p", &source.port.to_string()])
            .arg("-D")
            .arg(&green));
        let target = Running::start("green", &green, free_port(), fence).await;
        Self {
            source,
            target,
            directory,
        }
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        self.target.stop();
        self.source.stop();
        fs::remove_dir_all(&self.directory).ok();
    }
}

/// One running server.
pub(crate) struct Running {
    process: Child,
    data: PathBuf,
    port: u16,
    name: &'static str,
    fence: FenceLevel,
}

impl Running {
    async fn start(name: &'static str, data: &Path, port: u16, fence: FenceLevel) -> Self {
        let log = fs::File::create(data.with_extension("log")).unwrap();
        let process = tool("postgres")
            .arg("-D")
            .arg(data)
            .args(["-p", &port.to_string()])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let running = Self {
            process,
            data: data.to_owned(),
            port,
            name,
            fence,
        };
        until("the start of a server", async || {
            running.connect("postgres", "postgres").await.is_ok()
        })
        .await;
        running
    }

    async fn fill(&self) {
        let superuser = self.connect("postgres", "postgres").await.unwrap();
        superuser
            .run("CREATE ROLE app LOGIN; CREATE ROLE repl LOGIN REPLICATION; CREATE ROLE boss SUPERUSER LOGIN")
            .await;
        for datname in [MOVING[0], MOVING[1], "idle"] {
            superuser
                .run(&format!("CREATE DATABASE {datname} OWNER app"))
                .await;
            let superuser = self.connect("postgres", datname).await.unwrap();
            superuser
                .run(
                    "GRANT CREATE ON SCHEMA public TO app; SET ROLE app; \
                     CREATE TABLE items (id bigserial PRIMARY KEY, words text)",
                )
                .await;
        }
    }

    pub(crate) fn server(&self) -> Server {
        let address = format!("host=127.0.0.1 port={}", self.port);
        Server {
            name: ServerName::new(self.name).unwrap(),
            endpoint: format!("127.0.0.1:{}", self.port).parse().unwrap(),
            control: format!("{address} user=postgres"),
            replication: Some(format!("{address} user=repl")),
            fence: self.fence,
        }
    }

    /// Takes control as migration `m` at `epoch`.
    pub(crate) async fn attach(&self, epoch: u64) -> ControlledServer {
        self.try_attach(epoch).await.unwrap()
    }

    pub(crate) async fn try_attach(&self, epoch: u64) -> Result<ControlledServer, ProviderError> {
        let control = ControlId {
            migration: "m".to_owned(),
            epoch,
        };
        provider().attach(&self.server(), &control).await
    }

    pub(crate) async fn fence_record(&self) -> Option<FenceRecord> {
        provider().fence_record(&self.server()).await.unwrap()
    }

    /// A connection over TCP, or the server's words.
    pub(crate) async fn connect(&self, role: &str, datname: &str) -> Result<Session, String> {
        let port = self.port;
        let parameters = format!("host=127.0.0.1 port={port} user={role} dbname={datname}");
        match tokio_postgres::connect(&parameters, NoTls).await {
            Ok((client, connection)) => {
                let mut tasks = JoinSet::new();
                tasks.spawn(async move {
                    connection.await.ok();
                });
                Ok(Session {
                    client,
                    _tasks: tasks,
                })
            }
            Err(error) => Err(words(&error)),
        }
    }

    /// Runs statements in one simple query as superuser.
    pub(crate) async fn execute(&self, datname: &str, sql: &str) {
        let session = self.connect("postgres", datname).await.unwrap();
        session.run(sql).await;
    }

    /// A session of the replication protocol with a database, which runs plain SQL as well.
    pub(crate) fn walsender(&self, role: &str, datname: &str) -> Walsender {
        let port = self.port;
        let mut process = tool("psql")
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"])
            .arg(format!(
                "host=127.0.0.1 port={port} user={role} dbname={datname} replication=database"
            ))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let input = process.stdin.take().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        Walsender {
            process,
            input,
            output,
        }
    }

    pub(crate) fn hba(&self) -> Vec<u8> {
        fs::read(self.data.join("pg_hba.conf")).unwrap()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.data.with_extension("log")).unwrap()
    }

    /// An immediate shutdown; the data is thrown away.
    fn stop(&mut self) {
        let pid = self.process.id().to_string();
        Command::new("kill").args(["-QUIT", &pid]).status().ok();
        self.process.wait().ok();
    }
}

/// A connection that ends when dropped.
pub(crate) struct Session {
    client: Client,
    _tasks: JoinSet<()>,
}

impl Session {
    pub(crate) async fn run(&self, sql: &str) {
        if let Err(words) = self.try_run(sql).await {
            panic!("{sql}: {words}");
        }
    }

    pub(crate) async fn try_run(&self, sql: &str) -> Result<(), String> {
        let outcome = self.client.batch_execute(sql).await;
        outcome.map_err(|error| words(&error))
    }

    /// The first column of the one row, as text.
    pub(crate) async fn ask(&self, sql: &str) -> String {
        let sql = format!("SELECT ({sql})::text");
        let row = self.client.query_one(&sql, &[]).await.unwrap();
        row.get::<_, Option<String>>(0).unwrap_or_default()
    }
}

pub(crate) struct Walsender {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Walsender {
    /// The answer to a query of one row, or `None` when the session is gone.
    pub(crate) fn ask(&mut self, sql: &str) -> Option<String> {
        writeln!(self.input, "{sql};").ok()?;
        let mut line = String::new();
        self.output.read_line(&mut line).ok()?;
        let line = line.trim();
        (!line.is_empty()).then(|| line.to_owned())
    }
}

impl Drop for Walsender {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// Asks again every few milliseconds, for half a minute at most.
pub(crate) async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds().await {
        assert!(Instant::now() < deadline, "did not come: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

fn words(error: &tokio_postgres::Error) -> String {
    error
        .as_db_error()
        .map_or_else(|| error.to_string(), |db| db.message().to_owned())
}

/// A program of PostgreSQL's, as an unprivileged user: servers refuse to run as root.
fn tool(name: &str) -> Command {
    let newest = (15..=30)
        .rev()
        .map(|major| PathBuf::from(format!("/usr/lib/postgresql/{major}/bin")).join(name))
        .find(|path| path.exists())
        .unwrap_or_else(|| PathBuf::from(name));
    if !is_root() {
        return Command::new(newest);
    }
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=postgres", "--regid=postgres", "--clear-groups"])
        .arg(newest)
        .current_dir("/");
    command
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn append(path: &Path, text: &str) {
    let former = fs::read_to_string(path).unwrap();
    fs::write(path, former + text).unwrap();
}

fn own(directory: &Path) {
    if is_root() {
        run(Command::new("chown").arg("postgres:").arg(directory));
    }
}

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output().unwrap();
    output.stdout == b"0\n"
}

/// Memory where there is some: nothing here outlives its test.
fn scratch() -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    if memory.is_dir() {
        memory
    } else {
        std::env::temp_dir()
    }
}

/// Below the range from which the kernel gives out ports to clients, and no port twice in
/// one process.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = 10_000 + u16::try_from(std::process::id() % 10_000).unwrap() * 2;
    (0..1_000)
        .map(|_| start + NEXT.fetch_add(1, Ordering::Relaxed))
        .find(|&port| TcpListener::bind(("127.0.0.1", port)).is_ok())
        .unwrap()
}
