//! What a case runs on: two servers, two sidecars, a control plane that is overseen, clients at work.

use std::{process::Stdio, time::Duration};

use anyhow::{Context, Result, bail};
use pointsman_lab::{
    GateOptions, Lab, LabOptions,
    control_plane::Security,
    postgres::PostgresServer,
    workload::{Manners, Workload, WorkloadOptions},
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    process::Child,
    time::{Instant, sleep},
};

use crate::inventory::Pair;

use super::{cell::Run, overseer::Overseer, wire};

/// The migration, from `blue` to `green`.
pub(super) const NAME: &str = "m";
/// No wait lasts longer.
pub(super) const SOON: Duration = Duration::from_secs(90);
/// How long new connections are parked at most.
pub(super) const HOLD: Duration = Duration::from_secs(20);
/// States that wait for nobody but an operator.
const SETTLED: [&str; 8] = [
    "planned",
    "prepared",
    "undone",
    "baking",
    "rolled_back",
    "completed",
    "cancelled",
    "needs_operator",
];
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// A case's world.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) workload: Workload,
    pub(super) lab: Lab,
    pub(super) overseer: Overseer,
    _socket: TempDir,
}

impl Stage {
    /// Everything is up and clients are at work; no migration is there yet.
    pub(super) async fn set() -> Result<Self> {
        let folder = TempDir::new()?;
        let socket = folder.path().join("overseer");
        let overseer = Overseer::start(&socket)?;
        let options = LabOptions {
            sidecars: 2,
            settings: settings(),
            gates: GateOptions {
                source_control: true,
                target_control: true,
                xds_of: Some(1),
                ..GateOptions::default()
            },
            control_plane: Security {
                program: Some("crash_pointsman"),
                environment: vec![(wire::SOCKET.into(), socket.into())],
                ..Security::default()
            },
            ..LabOptions::default()
        };
        let lab = Lab::start(options).await.context("starting the lab")?;
        let workload = WorkloadOptions {
            writers: 8,
            readers: 2,
            manners: Manners {
                patience: 2 * HOLD,
                ..Manners::default()
            },
            ..WorkloadOptions::through_sidecars(&lab)?
        };
        let workload = Workload::start(&workload)?;
        workload.more_acked(20, SOON).await?;
        Ok(Self {
            workload,
            lab,
            overseer,
            _socket: folder,
        })
    }

    /// The migration is ready for `run`.
    pub(super) async fn prepare(&self, run: Run) -> Result<()> {
        let (source, target) = (self.source().name(), self.target().name());
        let create = ["migration", "create", NAME, "--source", source];
        let create: Vec<_> = create.into_iter().chain(["--target", target]).collect();
        self.lab.control_plane.cli_ok(&create).await?;
        self.preflight().await?;
        if run != Run::Start {
            self.verb("start").await?;
        }
        if run.begins_in_the_bake() {
            self.verb("switch").await?;
            self.until("the way back is proven", is_proven).await?;
            self.served_by(self.target()).await?;
        }
        Ok(())
    }

    /// It blocks also while the servers take their time.
    async fn preflight(&self) -> Result<()> {
        let deadline = Instant::now() + SOON;
        let preflight = ["migration", "preflight", NAME];
        loop {
            let checks = self.lab.control_plane.cli(&preflight).await?;
            if matches!(checks.code, Some(0 | 2)) {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("preflight blocks: {}{}", checks.stdout, checks.stderr);
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    pub(super) fn source(&self) -> &PostgresServer {
        &self.lab.pair.source
    }

    pub(super) fn target(&self) -> &PostgresServer {
        &self.lab.pair.target
    }

    /// Both, with these databases.
    pub(super) fn pair<'a>(&'a self, datnames: &'a [String]) -> Pair<'a> {
        Pair {
            source: self.source(),
            target: self.target(),
            datnames,
        }
    }

    pub(super) fn datnames(&self) -> Vec<String> {
        let databases = self.lab.databases.iter();
        databases.map(|database| database.name.clone()).collect()
    }

    /// Runs a verb on the migration, which is to succeed.
    pub(super) async fn verb(&self, verb: &str) -> Result<()> {
        let verb = ["migration", verb, NAME];
        self.lab.control_plane.cli_ok(&verb).await?;
        Ok(())
    }

    /// Begins `run`. Its end may be the control plane's.
    pub(super) fn begin(&self, run: Run) -> Result<Child> {
        let verb = ["migration", run.verb(), NAME];
        let mut command = self.lab.control_plane.command(verb);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        Ok(command.spawn()?)
    }

    /// The status of the migration, `None` while nobody answers.
    pub(super) async fn status(&self) -> Option<Value> {
        self.lab.migration(NAME).await.ok()
    }

    /// Waits until the status satisfies `holds`.
    pub(super) async fn until(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Result<Value> {
        let deadline = Instant::now() + SOON;
        loop {
            let status = self.status().await;
            if let Some(status) = status.as_ref().filter(|status| holds(status)) {
                return Ok(status.clone());
            }
            if Instant::now() > deadline {
                let tail = self.lab.control_plane.log_tail();
                let status = status
                    .as_ref()
                    .map_or_else(|| "no status".to_owned(), brief);
                bail!("never: {what}; {status}\n{tail}");
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// Waits until every client is served by `server`.
    pub(super) async fn served_by(&self, server: &PostgresServer) -> Result<()> {
        let (port, now) = (server.address().port(), self.workload.clock().now());
        self.workload.all_through(port, now, SOON).await
    }
}

/// State, headline and the record's last entries.
pub(super) fn brief(status: &Value) -> String {
    let text = |name: &str| status[name].as_str().unwrap_or_default();
    let mut lines = vec![format!("{}: {}", text("state"), text("headline"))];
    let entries = status["timeline"].as_array().map_or(&[][..], Vec::as_slice);
    for entry in entries.iter().skip(entries.len().saturating_sub(12)) {
        let text = |name: &str| entry[name].as_str().unwrap_or_default();
        lines.push(format!(
            "    {} {}: {}",
            text("step"),
            text("event"),
            text("message")
        ));
    }
    lines.join("\n")
}

/// Whether going back would lose nothing.
pub(super) fn is_proven(status: &Value) -> bool {
    status["state"] == "baking" && status["reverse_stream"] == "proven"
}

/// Whether nothing is under way that an operator would wait for.
pub(super) fn has_settled(status: &Value) -> bool {
    let state = status["state"].as_str().unwrap_or_default();
    SETTLED.contains(&state)
}

/// Nothing here is to fail for being slow. Alarms are another matter: a server that is down for seconds in the bake is to raise none.
fn settings() -> String {
    format!(
        "[hold]\nbudget_ms = {}\n[barrier]\ndeadline_ms = 5000\n[switch]\ncatch_up_ms = 10000\n\
         promote_ms = 6000\n[alarm]\nfailures = 1000\nconnect_failures = 100000\n\
         failing_ms = 600000\n",
        HOLD.as_millis()
    )
}
