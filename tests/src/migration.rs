//! A migration as its operator sees it: by the command line, and by nothing else.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdout};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use pointsman_lab::control_plane::ControlPlane;
use pointsman_lab::workload::{Clock, Moment};

/// Where a migration stands: what `migration status --output json` prints, as far as it is used here.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct MigrationStatus {
    /// `prepared`, `switching`, `baking`, `rolled_back`, …
    pub state: String,
    /// One sentence for a person.
    pub headline: String,
    /// Why the last switch was undone or rolled back.
    pub cause: String,
    /// `none`, `arming`, `proven` or `broken`.
    pub reverse_stream: String,
    /// The record of each step, oldest first.
    pub timeline: Vec<Entry>,
}

/// One line of a migration's record.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Entry {
    /// Which switch it belongs to, from 1; 0 before the first.
    pub switch: u32,
    /// Unix milliseconds.
    pub at_ms: i64,
    /// Microseconds since that switch began.
    pub offset_us: u64,
    /// How long the step took, in microseconds.
    pub took_us: u64,
    /// The step's name.
    pub step: String,
    /// `intent`, `done`, `failed` or `note`.
    pub event: String,
    /// What happened, for a person.
    pub message: String,
    /// What proves it.
    pub evidence: Value,
}

/// Follows a migration with `migration status --watch`; ends with its drop.
#[derive(Debug)]
pub struct Follower {
    status: watch::Receiver<MigrationStatus>,
    reading: JoinSet<anyhow::Result<()>>,
    _program: Child,
}

impl MigrationStatus {
    /// The lines of one switch.
    pub fn switch(&self, number: u32) -> impl Iterator<Item = &Entry> {
        self.timeline
            .iter()
            .filter(move |entry| entry.switch == number)
    }

    /// When the hold of a switch was published, on `clock`.
    ///
    /// # Errors
    /// The switch has no hold that succeeded, or its evidence does not say when.
    pub fn hold_published(&self, switch: u32, clock: &Clock) -> anyhow::Result<Moment> {
        let since_ms = self.hold_evidence(switch, "hold_since_ms")?;
        Ok(clock.at_unix_ms(since_ms))
    }

    /// How long it took from publishing the hold until the fleet had acknowledged it, in milliseconds.
    ///
    /// # Errors
    /// The switch has no hold that succeeded, or its evidence does not say how long.
    pub fn barrier_ms(&self, switch: u32) -> anyhow::Result<f64> {
        let us = self.hold_evidence(switch, "barrier_us")?;
        Ok(Duration::from_micros(u64::try_from(us)?).as_secs_f64() * 1000.0)
    }

    /// The steps of a switch that succeeded, with their milliseconds, in order.
    pub fn steps_ms(&self, switch: u32) -> impl Iterator<Item = (&str, f64)> {
        let done = self.switch(switch).filter(|entry| entry.event == "done");
        done.map(|entry| (entry.step.as_str(), ms(entry.took_us)))
    }

    fn hold_evidence(&self, switch: u32, field: &str) -> anyhow::Result<i64> {
        let mut done = self.switch(switch).filter(|entry| entry.event == "done");
        let hold = done.find(|entry| entry.step == "hold");
        let hold = hold.with_context(|| format!("switch {switch} has no hold on record"))?;
        let value = hold.evidence.get(field).and_then(Value::as_i64);
        value.with_context(|| format!("the hold of switch {switch} has no {field} in evidence"))
    }
}

impl Follower {
    /// Starts to follow the migration `name`; `tell` hears each new line of its record.
    ///
    /// # Errors
    /// The program does not start.
    pub fn start(
        control_plane: &ControlPlane,
        name: &str,
        tell: impl FnMut(&Entry) + Send + 'static,
    ) -> anyhow::Result<Self> {
        let verb = ["--output", "json", "migration", "status", name, "--watch"];
        let mut command = control_plane.command(verb);
        command.stdout(Stdio::piped());
        let mut program = command.spawn().context("starting the follower")?;
        let stdout = program.stdout.take().context("the follower's output")?;
        let (sender, status) = watch::channel(MigrationStatus::default());
        let mut reading = JoinSet::new();
        reading.spawn(read(stdout, sender, tell));
        Ok(Self {
            status,
            reading,
            _program: program,
        })
    }

    /// Where the migration stood last.
    #[must_use]
    pub fn status(&self) -> MigrationStatus {
        self.status.borrow().clone()
    }

    /// Waits until the migration stands as `wanted` says.
    ///
    /// # Errors
    /// It does not within `deadline`, it needs an operator, or it cannot be followed any more.
    pub async fn until(
        &mut self,
        what: &str,
        deadline: Duration,
        wanted: impl Fn(&MigrationStatus) -> bool,
    ) -> anyhow::Result<MigrationStatus> {
        let ends = |status: &MigrationStatus| wanted(status) || status.state == "needs_operator";
        let reached = timeout(deadline, self.status.wait_for(ends)).await;
        let reached = reached.map(|status| status.map(|status| status.clone()));
        let status = match reached {
            Ok(Ok(status)) => status,
            Ok(Err(_)) => {
                let outcome = self.reading.join_next().await;
                outcome.context("the follower is gone")???;
                bail!("waiting for {what}: the control plane ended the stream");
            }
            Err(_) => {
                let status = self.status();
                let MigrationStatus {
                    state, headline, ..
                } = status;
                bail!("waiting for {what}: still {state} after {deadline:?}: {headline}");
            }
        };
        if !wanted(&status) {
            bail!("waiting for {what}: {}", status.headline);
        }
        Ok(status)
    }
}

/// Creates the migration `name` from one server to another, and asks whether it may start.
///
/// # Errors
/// It is refused, or a check blocks it.
pub async fn create(
    cli: &ControlPlane,
    name: &str,
    (source, target): (&str, &str),
) -> anyhow::Result<()> {
    let create = ["create", name, "--source", source, "--target", target];
    cli.cli_ok(&[&["migration"][..], &create].concat()).await?;
    let checks = cli.cli(&["migration", "preflight", name]).await?;
    ensure!(
        matches!(checks.code, Some(0 | 2)),
        "preflight: {}{}",
        checks.stdout,
        checks.stderr
    );
    Ok(())
}

/// Milliseconds of so many microseconds.
#[must_use]
pub fn ms(micros: u64) -> f64 {
    Duration::from_micros(micros).as_secs_f64() * 1000.0
}

async fn read(
    stdout: ChildStdout,
    status: watch::Sender<MigrationStatus>,
    mut tell: impl FnMut(&Entry),
) -> anyhow::Result<()> {
    let mut lines = BufReader::new(stdout).lines();
    let mut timeline = Vec::new();
    while let Some(line) = lines.next_line().await? {
        let mut latest: MigrationStatus = serde_json::from_str(&line)
            .with_context(|| format!("`migration status --watch` printed {line:?}"))?;
        // Each line has the entries that are new.
        latest.timeline.iter().for_each(&mut tell);
        timeline.append(&mut latest.timeline);
        latest.timeline.clone_from(&timeline);
        status.send_replace(latest);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> MigrationStatus {
        let text = r#"{"name": "m", "state": "baking", "reverse_stream": "arming", "timeline": [
            {"switch": 1, "at_ms": 5000, "offset_us": 100, "step": "hold", "event": "intent"},
            {"switch": 1, "at_ms": 5110, "took_us": 110500, "step": "hold", "event": "done",
             "message": "3 of 3", "evidence": {"hold_since_ms": 5001, "barrier_us": 3250}},
            {"switch": 1, "at_ms": 5140, "took_us": 30000, "step": "fence", "event": "done"},
            {"switch": 2, "at_ms": 9000, "step": "hold", "event": "failed"}]}"#;
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_hold_counts_from_its_publication() {
        let (status, clock) = (status(), Clock::start());
        let hold = status.hold_published(1, &clock).unwrap();
        assert_eq!(hold, clock.at_unix_ms(5001));
        assert!((status.barrier_ms(1).unwrap() - 3.25).abs() < 1e-9);
    }

    #[test]
    fn a_hold_that_failed_has_no_time() {
        let error = status().hold_published(2, &Clock::start()).unwrap_err();
        assert_eq!(error.to_string(), "switch 2 has no hold on record");
    }

    #[test]
    fn steps_are_those_that_succeeded() {
        let status = status();
        let steps: Vec<_> = status.steps_ms(1).map(|(step, _)| step).collect();
        assert_eq!(steps, ["hold", "fence"]);
    }
}
