//! A primary and its standby, made for one test and thrown away.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use pointsman_catalog::{FenceLevel, Server, ServerName};
use tokio::time::{Instant, sleep};
use tokio_postgres::{Client, NoTls};

/// Ends both servers when dropped.
pub(crate) struct Pair {
    pub(crate) source: Running,
    pub(crate) target: Running,
    directory: PathBuf,
}

/// One running server.
pub(crate) struct Running {
    process: Child,
    pub(crate) port: u16,
    name: &'static str,
}

impl Pair {
    pub(crate) async fn start() -> Self {
        let directory = std::env::temp_dir().join(format!("checks-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        own(&directory);
        let blue = directory.join("blue");
        let green = directory.join("green");
        run(
            tool("initdb").args(["-A", "trust", "-U", "postgres", "-N", "-D"]),
            &blue,
        );
        let settings = "wal_level = logical\nmax_prepared_transactions = 5\nfsync = off\n\
                        listen_addresses = '127.0.0.1'\nunix_socket_directories = ''\n\
                        shared_buffers = 16MB\n";
        let path = blue.join("postgresql.conf");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text + settings).unwrap();
        let source = Running::start("blue", &blue).await;
        let port = source.port.to_string();
        run(
            tool("pg_basebackup").args([
                "-h",
                "127.0.0.1",
                "-U",
                "postgres",
                "-p",
                &port,
                "-R",
                "-C",
                "-S",
                "green",
                "-c",
                "fast",
                "-D",
            ]),
            &green,
        );
        let target = Running::start("green", &green).await;
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

impl Running {
    async fn start(name: &'static str, data: &Path) -> Self {
        let port = free_port();
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
            port,
            name,
        };
        let deadline = Instant::now() + Duration::from_secs(30);
        while running.try_connect("postgres", "postgres").await.is_none() {
            let log = data.with_extension("log");
            assert!(
                Instant::now() < deadline,
                "{name} does not start: {}",
                fs::read_to_string(log).unwrap()
            );
            sleep(Duration::from_millis(20)).await;
        }
        running
    }

    pub(crate) fn server(&self) -> Server {
        Server {
            name: ServerName::new(self.name).unwrap(),
            endpoint: format!("127.0.0.1:{}", self.port).parse().unwrap(),
            control: String::new(),
            replication: None,
            fence: FenceLevel::SqlHba,
        }
    }

    pub(crate) async fn connect(&self, role: &str, datname: &str) -> Client {
        self.try_connect(role, datname).await.unwrap()
    }

    async fn try_connect(&self, role: &str, datname: &str) -> Option<Client> {
        let port = self.port;
        let parameters = format!("host=127.0.0.1 port={port} user={role} dbname={datname}");
        let (client, connection) = tokio_postgres::connect(&parameters, NoTls).await.ok()?;
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move { connection.await.ok() });
        tasks.detach_all();
        Some(client)
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

    /// An immediate shutdown; the data is thrown away.
    fn stop(&mut self) {
        let pid = self.process.id().to_string();
        Command::new("kill").args(["-QUIT", &pid]).status().ok();
        self.process.wait().ok();
    }
}

/// A program of PostgreSQL's, as an unprivileged user: servers refuse to run as root.
pub(crate) fn tool(name: &str) -> Command {
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

fn run(command: &mut Command, last: &Path) {
    let output = command.arg(last).output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn own(directory: &Path) {
    if is_root() {
        let status = Command::new("chown")
            .arg("postgres:")
            .arg(directory)
            .status()
            .unwrap();
        assert!(status.success());
    }
}

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output().unwrap();
    output.stdout == b"0\n"
}

/// Below the range from which the kernel gives out ports to clients.
fn free_port() -> u16 {
    let start = 20_000 + u16::try_from(std::process::id() % 10_000).unwrap();
    (start..32_000)
        .find(|&port| TcpListener::bind(("127.0.0.1", port)).is_ok())
        .unwrap()
}
