//! `pgbench`, with a connection for each transaction.

use std::{net::SocketAddr, process::Stdio};

use anyhow::{Context as _, Result, ensure};
use pointsman_lab::tools;
use tokio::{
    process::{Child, Command},
    task::JoinSet,
};

/// Clients that run until they are told to end.
pub(super) struct Crowd {
    programs: Vec<Child>,
}

/// What they did.
#[derive(Clone, Debug, Default)]
pub(super) struct Done {
    pub(super) transactions: u64,
    /// Clients that gave up.
    pub(super) failed: u64,
    /// What they said.
    pub(super) failures: Vec<String>,
}

/// Makes pgbench's tables in `datname` of the server at `address`. Each row of the history gets a
/// key, by which logical replication knows it.
pub(super) async fn make_tables(address: SocketAddr, datname: &str) -> Result<()> {
    let mut init = command(address, datname).await?;
    init.args(["--initialize", "--scale=1", "--quiet"]);
    let made = init.output().await?;
    let said = String::from_utf8_lossy(&made.stderr);
    ensure!(made.status.success(), "pgbench --initialize: {said}");
    Ok(())
}

impl Crowd {
    /// Starts `clients`, a thread each, spread over the sidecars at `ways`.
    pub(super) async fn start(ways: &[SocketAddr], datname: &str, clients: usize) -> Result<Self> {
        let mut programs = Vec::new();
        for (place, way) in ways.iter().enumerate() {
            let share = (clients + place) / ways.len();
            let mut bench = command(*way, datname).await?;
            bench
                .args(["--connect", "--skip-some-updates", "--no-vacuum"])
                .arg(format!("--client={share}"))
                .arg(format!("--jobs={share}"))
                .arg(format!("--time={LONG_S}"));
            programs.push(bench.spawn().context("starting pgbench")?);
        }
        Ok(Self { programs })
    }

    /// Lets every transaction that has begun come to its end.
    pub(super) async fn end(self) -> Result<Done> {
        let mut ending = JoinSet::new();
        for program in self.programs {
            if let Some(pid) = program.id() {
                // Its own timer ends it by this signal.
                let mut kill = Command::new("kill");
                kill.args(["-s", "ALRM", &pid.to_string()]);
                kill.status().await?;
            }
            ending.spawn(program.wait_with_output());
        }
        let mut done = Done::default();
        while let Some(ended) = ending.join_next().await {
            let output = ended??;
            let said = String::from_utf8_lossy(&output.stdout);
            done.add(&said, &String::from_utf8_lossy(&output.stderr))?;
        }
        Ok(done)
    }
}

impl Done {
    fn add(&mut self, stdout: &str, stderr: &str) -> Result<()> {
        let count = stdout
            .lines()
            .find_map(|line| line.strip_prefix("number of transactions actually processed: "));
        let count = count.with_context(|| format!("pgbench said: {stdout}{stderr}"))?;
        let count = count.split('/').next().unwrap_or(count);
        self.transactions += count.trim().parse::<u64>().context("its count")?;
        let failures = stderr
            .lines()
            .filter(|line| line.contains("aborted") && line.contains("client "));
        self.failed += failures.count() as u64;
        let wrong = stderr.lines().filter(|line| line.contains("error:"));
        self.failures.extend(wrong.map(ToOwned::to_owned));
        Ok(())
    }
}

async fn command(address: SocketAddr, datname: &str) -> Result<Command> {
    let mut command = Command::new(tools::pgbench().await?);
    command
        .arg(format!("--host={}", address.ip()))
        .arg(format!("--port={}", address.port()))
        .args(["--username=app", datname])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    Ok(command)
}

/// Longer than any round.
const LONG_S: u32 = 3600;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transactions_and_clients_that_gave_up_are_counted() {
        let mut done = Done::default();
        done.add("number of transactions actually processed: 812\n", "")
            .unwrap();
        done.add(
            "number of transactions actually processed: 40/50\n",
            "pgbench: error: connection to server failed: FATAL:  no\n\
             pgbench: error: client 7 aborted while establishing connection\n\
             pgbench: error: Run was aborted; the above results are incomplete.\n",
        )
        .unwrap();
        assert_eq!((done.transactions, done.failed), (852, 1));
        assert_eq!(done.failures.len(), 3);
        assert!(done.add("nothing", "it crashed").is_err());
    }
}
