//! What rounds run on: two servers, three sidecars, a control plane, and gates between all of them.

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use futures_util::future::try_join_all;
use pointsman_lab::{
    control_plane::{ControlPlane, Output},
    envoy::Envoy,
    ports::Port,
    postgres::{PairOptions, PostgresPair, PostgresServer, Ways, rebuild_standby},
    scratch::Scratch,
    workload::{ClientRecord, Manners, Workload, WorkloadOptions},
};
use serde_json::Value;
use tokio::{
    sync::Mutex,
    time::{Instant, sleep, timeout},
};

use super::{
    databases::{Databases, ip},
    gates::Gates,
};

/// The servers by their numbers; each may be the source of a round and the target of another.
#[derive(Debug)]
pub(super) struct Stage {
    // Ended in this order: each before what it depends on.
    pub(super) control_plane: Mutex<ControlPlane>,
    pub(super) sidecars: Vec<Mutex<Envoy>>,
    pub(super) gates: Gates,
    pub(super) servers: [PostgresServer; 2],
    /// Somebody has given their word that it stays down.
    retired: [AtomicBool; 2],
    /// Which server serves between rounds.
    pub(super) serving: usize,
    /// What the clients of former rounds know.
    pub(super) history: Vec<ClientRecord>,
    pub(super) databases: Databases,
    scratch: Scratch,
}

impl Stage {
    /// Everything is up; nobody works yet.
    pub(super) async fn set(sharp_alarms: bool) -> Result<Self> {
        let scratch = Scratch::new()?;
        let options = PairOptions {
            gate_replication: true,
            ..PairOptions::default()
        };
        let PostgresPair {
            source,
            target,
            replication,
        } = PostgresPair::start(scratch.path(), &options).await?;
        let settings = settings(sharp_alarms);
        let control_plane = ControlPlane::start(scratch.path(), &settings).await?;
        let replication = replication.context("no gate before the source")?;
        let servers = [source, target];
        let gates = Gates::start(&servers, replication, control_plane.xds(), SIDECARS).await?;
        let mut stage = Self {
            databases: Databases::reserve(options.databases)?,
            control_plane: Mutex::new(control_plane),
            sidecars: Vec::new(),
            gates,
            servers,
            retired: Default::default(),
            serving: 0,
            history: Vec::new(),
            scratch,
        };
        stage.declare().await?;
        let sidecars = (0..SIDECARS).map(|number| stage.sidecar(number));
        let sidecars = try_join_all(sidecars).await?;
        stage.sidecars = sidecars.into_iter().map(Mutex::new).collect();
        stage.synced().await?;
        Ok(stage)
    }

    async fn declare(&self) -> Result<()> {
        let mut text = String::new();
        for (number, server) in self.servers.iter().enumerate() {
            let ways = Ways {
                fence: "sql+hba",
                control: self.gates.control[number].address(),
                replication: Some(self.gates.peers[number].address()),
            };
            let endpoint = self.gates.applications[number].address();
            text.push_str(&server.declaration_at(endpoint, ways, self.folder())?);
        }
        let (writer, reader) = (self.servers[0].name(), self.servers[1].name());
        text.push_str(&self.databases.declaration(writer, reader)?);
        let path = self.folder().join("databases.toml");
        fs::write(&path, text)?;
        self.cli_ok(&["database", "apply", &path.to_string_lossy()])
            .await?;
        Ok(())
    }

    async fn sidecar(&self, number: usize) -> Result<Envoy> {
        let (name, admin) = (format!("sc{number}"), Port::reserve()?);
        let (listen, envoy_admin) = (ip(number).to_string(), admin.on_loopback().to_string());
        let xds = self.gates.xds[number].address().to_string();
        let args = ["sidecar", "bootstrap", &name, "--listen", &listen];
        let more = ["--xds", &xds, "--envoy-admin", &envoy_admin];
        let bootstrap = self.cli_ok(&[&args[..], &more].concat()).await?;
        Envoy::start(&name, self.folder(), &bootstrap, admin).await
    }

    /// Waits until every sidecar is SYNCED.
    pub(super) async fn synced(&self) -> Result<()> {
        let deadline = Instant::now() + SOON;
        loop {
            let output = self.cli(&["--output", "json", "fleet", "status"]).await?;
            let fleet: Value = serde_json::from_str(&output.stdout).unwrap_or_default();
            let nodes = fleet["nodes"].as_array().map_or(&[][..], Vec::as_slice);
            if !nodes.is_empty() && nodes.iter().all(|node| node["state"] == "SYNCED") {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("the fleet is not SYNCED after {SOON:?}: {fleet}");
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// The clients of a round.
    pub(super) fn workload(&self) -> Result<Workload> {
        Workload::start(&WorkloadOptions {
            clients_before: self.history.len(),
            writers: 8,
            readers: 2,
            write_every: Duration::from_millis(40),
            manners: Manners {
                patience: 2 * HOLD,
                ..Manners::default()
            },
            ..WorkloadOptions::over(self.databases.accesses(SIDECARS))
        })
    }

    pub(super) fn source(&self) -> &PostgresServer {
        &self.servers[self.serving]
    }

    pub(super) fn target(&self) -> &PostgresServer {
        &self.servers[1 - self.serving]
    }

    /// The server that does not serve becomes a standby of the one that does, whatever it was.
    pub(super) async fn rebuild(&self) -> Result<()> {
        for retired in &self.retired {
            retired.store(false, Ordering::SeqCst);
        }
        let through = self.gates.peers[self.serving].address();
        rebuild_standby(self.target(), self.source(), through).await
    }

    /// Takes a server away for good: nobody starts it before it is rebuilt.
    pub(super) async fn retire(&self, number: usize) -> Result<()> {
        self.retired[number].store(true, Ordering::SeqCst);
        self.servers[number].crash().await
    }

    pub(super) fn is_retired(&self, number: usize) -> bool {
        self.retired[number].load(Ordering::SeqCst)
    }

    /// Runs a verb to its end; whoever kills the control plane meanwhile is not kept waiting.
    pub(super) async fn cli(&self, args: &[&str]) -> Result<Output> {
        let run = async {
            let mut command = self.control_plane.lock().await.command(args);
            anyhow::Ok(command.output().await?)
        };
        let said = || format!("pointsman {args:?}: no end after {VERB:?}");
        let output = timeout(VERB, run).await.with_context(said)??;
        Ok(Output {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    pub(super) async fn cli_ok(&self, args: &[&str]) -> Result<String> {
        let output = self.cli(args).await?;
        match output.code {
            Some(0) => Ok(output.stdout),
            code => bail!("{args:?} ended with {code:?}: {}", output.stderr),
        }
    }

    /// The status of a migration, `None` while nobody answers.
    pub(super) async fn status(&self, name: &str) -> Result<Option<Value>> {
        let show = ["--output", "json", "migration", "status", name];
        let output = self.cli(&show).await?;
        Ok(serde_json::from_str(&output.stdout).ok())
    }

    /// Ends the control plane first: it is not asked any more what it believes.
    pub(super) async fn strike_down(self) -> Result<()> {
        self.control_plane.lock().await.kill9().await
    }

    pub(super) fn folder(&self) -> &Path {
        self.scratch.path()
    }
}

/// Two cores carry it all. Alarms are as shipped, or slow to fire.
fn settings(sharp_alarms: bool) -> String {
    let alarms = match sharp_alarms {
        true => "",
        false => "[alarm]\nfailures = 1000\nfailing_ms = 600000\nfirst_write_ms = 600000\n",
    };
    format!(
        "[hold]\nbudget_ms = {}\n[barrier]\ndeadline_ms = 5000\n[switch]\ncatch_up_ms = 8000\n\
         promote_ms = 6000\nrollback_wait_ms = 30000\n{alarms}",
        HOLD.as_millis()
    )
}

pub(super) const SIDECARS: usize = 3;
/// How long new connections are parked at most.
const HOLD: Duration = Duration::from_secs(15);
/// No verb takes longer.
const VERB: Duration = Duration::from_secs(120);
const SOON: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(200);
