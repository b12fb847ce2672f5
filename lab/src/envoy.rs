//! Real Envoy sidecars.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

use crate::{
    ports::Port,
    process::{Launch, Process, Signal},
    tools,
};

const READY_DEADLINE: Duration = Duration::from_secs(30);
const ADMIN_DEADLINE: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// The command line of the deployment: one worker, and listeners that never drain. Without
/// hot restart, nothing of an Envoy that was killed stays in shared memory.
const FLAGS: [&str; 7] = [
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
pub struct Sidecar {
    name: String,
    bootstrap: PathBuf,
    log: PathBuf,
    admin: Port,
    process: Option<Process>,
}

impl Sidecar {
    /// Starts an Envoy and waits until its admin interface answers, which `bootstrap` (JSON)
    /// puts at `admin` on `127.0.0.1`; its files lie in `folder`. The listeners come when
    /// the control plane sends them: [`Self::listening`].
    pub async fn start(name: &str, folder: &Path, bootstrap: &str, admin: Port) -> Result<Self> {
        let path = folder.join(format!("{name}.json"));
        fs::write(&path, bootstrap)?;
        let mut sidecar = Self {
            name: name.to_owned(),
            bootstrap: path,
            log: folder.join(format!("{name}.log")),
            admin,
            process: None,
        };
        sidecar.restart().await?;
        Ok(sidecar)
    }

    /// Starts it again, after [`Self::kill`] or from scratch, with the same bootstrap.
    pub async fn restart(&mut self) -> Result<()> {
        self.kill().await?;
        let process = Launch::new(&self.name, tools::envoy().await?, self.log.clone())
            .args(FLAGS)
            .arg("--config-path")
            .arg(&self.bootstrap)
            .start()?;
        self.process = Some(process);
        let answering = async || self.get("/server_info").await.is_ok();
        self.wait("its admin interface", answering).await
    }

    /// Ends it at once (`kill -9`).
    pub async fn kill(&mut self) -> Result<()> {
        if let Some(process) = self.process.take() {
            process.signal(Signal::Kill);
            process.ended(ADMIN_DEADLINE).await?;
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

    /// What the admin interface answers to a GET of `path`.
    pub async fn get(&self, path: &str) -> Result<String> {
        timeout(ADMIN_DEADLINE, get(self.admin(), path))
            .await
            .with_context(|| format!("{}: no answer to {path}", self.name))?
            .with_context(|| format!("{}: GET {path}", self.name))
    }
}

/// The smallest HTTP client that Envoy's admin interface understands.
async fn get(address: SocketAddr, path: &str) -> Result<String> {
    let mut connection = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    if status != "200" {
        bail!("HTTP status {status}: {body}");
    }
    if head
        .to_ascii_lowercase()
        .contains("transfer-encoding: chunked")
    {
        return dechunked(body).context("a broken chunk in the answer");
    }
    Ok(body.to_owned())
}

fn dechunked(mut body: &str) -> Option<String> {
    let mut whole = String::new();
    loop {
        let (size, rest) = body.split_once("\r\n")?;
        let size = usize::from_str_radix(size.trim(), 16).ok()?;
        if size == 0 {
            return Some(whole);
        }
        whole.push_str(rest.get(..size)?);
        body = rest.get(size..)?.strip_prefix("\r\n")?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunked_answer_is_put_together() {
        let body = "3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n";
        assert_eq!(dechunked(body).as_deref(), Some("abc0123456789"));
    }

    #[test]
    fn a_torn_answer_is_none() {
        assert_eq!(dechunked("5\r\nabc"), None);
    }
}
