//! Real Envoys.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use tokio::{
    net::TcpStream,
    process::Command,
    time::{Instant, sleep, timeout},
};

use crate::{
    http,
    ports::Port,
    process::{Launch, Process, Signal},
    tools,
};

const READY_DEADLINE: Duration = Duration::from_secs(30);
/// A killed process goes once it is given a processor.
const STOP_DEADLINE: Duration = Duration::from_secs(20);
const ADMIN_DEADLINE: Duration = Duration::from_secs(5);
const VALIDATION_DEADLINE: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// The command line of the deployment: one worker, and listeners that never drain. Without
/// hot restart, nothing of an Envoy that was killed stays in shared memory.
pub const ARGUMENTS: &[&str] = &[
    "--concurrency",
    "1",
    "--drain-time-s",
    "0",
    "--drain-strategy",
    "immediate",
    "--disable-hot-restart",
];

/// One Envoy. Killed on drop.
#[derive(Debug)]
pub struct Envoy {
    name: String,
    arguments: Vec<String>,
    bootstrap: PathBuf,
    log: PathBuf,
    admin: Port,
    process: Option<Process>,
}

impl Envoy {
    /// Starts an Envoy and waits until its admin interface answers, which `bootstrap` (JSON)
    /// puts at `admin` on `127.0.0.1`; its files lie in `folder`. The listeners come when
    /// the control plane sends them: [`Self::listening`].
    pub async fn start(name: &str, folder: &Path, bootstrap: &str, admin: Port) -> Result<Self> {
        Self::start_with(ARGUMENTS, name, folder, bootstrap, admin).await
    }

    /// The same with other arguments than the deployment's.
    pub async fn start_with(
        arguments: &[&str],
        name: &str,
        folder: &Path,
        bootstrap: &str,
        admin: Port,
    ) -> Result<Self> {
        let path = folder.join(format!("{name}.json"));
        fs::write(&path, bootstrap)?;
        let mut envoy = Self {
            name: name.to_owned(),
            arguments: arguments
                .iter()
                .map(|&argument| argument.to_owned())
                .collect(),
            bootstrap: path,
            log: folder.join(format!("{name}.log")),
            admin,
            process: None,
        };
        envoy.restart().await?;
        Ok(envoy)
    }

    /// Starts it again, after [`Self::kill`] or from scratch, with the same bootstrap.
    pub async fn restart(&mut self) -> Result<()> {
        self.kill().await?;
        let process = Launch::new(&self.name, tools::envoy().await?, self.log.clone())
            .args(&self.arguments)
            .arg("--config-path")
            .arg(&self.bootstrap)
            .start()?;
        self.process = Some(process);
        let answering = async || self.get("/server_info").await.is_ok();
        self.wait("its admin interface", answering).await
    }

    /// Has Envoy look at the bootstrap `contents` and start nothing. The file gets the name
    /// `file_name`, whose ending tells Envoy what is in it.
    ///
    /// # Errors
    /// What Envoy says against it.
    pub async fn validate(folder: &Path, file_name: &str, contents: &[u8]) -> Result<()> {
        let path = folder.join(file_name);
        fs::write(&path, contents)?;
        let output = Command::new(tools::envoy().await?)
            .args(["--mode", "validate", "--log-level", "error", "-c"])
            .arg(&path)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = timeout(VALIDATION_DEADLINE, output)
            .await
            .with_context(|| {
                format!("no verdict on {file_name} within {VALIDATION_DEADLINE:?}")
            })??;
        ensure!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }

    /// Ends it at once (`kill -9`).
    pub async fn kill(&mut self) -> Result<()> {
        if let Some(process) = self.process.take() {
            process.signal(Signal::Kill);
            process.ended(STOP_DEADLINE).await?;
        }
        Ok(())
    }

    /// Stops it where it is: connections stay open, nothing moves.
    pub fn freeze(&self) {
        self.signal(Signal::Stop);
    }

    /// Lets a frozen Envoy go on.
    pub fn thaw(&self) {
        self.signal(Signal::Cont);
    }

    fn signal(&self, signal: Signal) {
        if let Some(process) = &self.process {
            process.signal(signal);
        }
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where its admin interface listens.
    #[must_use]
    pub fn admin(&self) -> SocketAddr {
        self.admin.on_loopback()
    }

    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// Waits until it accepts connections at `address`.
    pub async fn listening(&self, address: SocketAddr) -> Result<()> {
        let accepting = async || TcpStream::connect(address).await.is_ok();
        self.wait(&format!("its listener {address}"), accepting)
            .await
    }

    async fn wait(&self, what: &str, holds: impl AsyncFn() -> bool) -> Result<()> {
        let deadline = Instant::now() + READY_DEADLINE;
        while !holds().await {
            let tail = self
                .process
                .as_ref()
                .map(Process::log_tail)
                .unwrap_or_default();
            if !self.process.as_ref().is_some_and(Process::is_running) {
                bail!("{}: Envoy ended before {what} was up\n{tail}", self.name);
            }
            if Instant::now() > deadline {
                bail!(
                    "{}: {what} was not up after {READY_DEADLINE:?}\n{tail}",
                    self.name
                );
            }
            sleep(LOOK_AGAIN).await;
        }
        Ok(())
    }

    /// One of Envoy's statistics, by its full name; `None` while there is none.
    pub async fn stat(&self, name: &str) -> Result<Option<u64>> {
        let text = self.get(&format!("/stats?filter=^{name}$")).await?;
        Ok(text
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(found, _)| *found == name)
            .and_then(|(_, value)| value.trim().parse().ok()))
    }

    /// The sum of the statistics whose names match a regular expression.
    ///
    /// # Errors
    /// None does.
    pub async fn stats(&self, filter: &str) -> Result<u64> {
        let text = self.get(&format!("/stats?filter={filter}")).await?;
        let values = text.lines().filter_map(|line| line.split_once(": "));
        let mut values = values.map(|(_, value)| value.trim().parse::<u64>());
        let first = values
            .next()
            .with_context(|| format!("no statistic matches {filter}"))??;
        values.try_fold(first, |sum, value| Ok(sum + value?))
    }

    /// What the admin interface answers to a GET of `path`.
    pub async fn get(&self, path: &str) -> Result<String> {
        let exchange = async {
            let connection = TcpStream::connect(self.admin()).await?;
            let answer = http::get(connection, "admin", path, &[]).await?;
            match answer.status() {
                "200" => Ok(answer.body),
                status => bail!("HTTP status {status}: {}", answer.body),
            }
        };
        timeout(ADMIN_DEADLINE, exchange)
            .await
            .with_context(|| format!("{}: no answer to {path}", self.name))?
            .with_context(|| format!("{}: GET {path}", self.name))
    }
}
