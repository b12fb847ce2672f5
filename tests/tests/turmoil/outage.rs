//! A group that loses its way to the control plane all at once, and serves on.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use pointsman_lab::{envoy::Envoy, gate::Gate};
use pointsman_tests::migration::MigrationStatus;
use serde_json::Value;
use tokio::time::{Instant, interval, timeout};

use super::{
    envoys::{Deployment, PATH},
    stage::{GROUP, Stage},
};

/// Three real Envoys that reach the control plane through a gate.
struct Outage {
    // Ended in this order: each before what it depends on.
    _envoys: Vec<Envoy>,
    gate: Gate,
    stage: Stage,
}

impl Outage {
    async fn open() -> Result<Self> {
        let mut stage = Stage::open().await?;
        stage.declare().await?;
        stage.add_group().await?;
        let gate = Gate::start(stage.control_plane.xds()).await?;
        let deployment = Deployment::new(&stage)
            .await?
            .over(stage.control_plane.xds(), gate.address());
        let mut envoys = Vec::new();
        for slot in 0..MEMBERS {
            envoys.push(deployment.start(slot, &slot.to_string()).await?);
        }
        Ok(Self {
            _envoys: envoys,
            gate,
            stage,
        })
    }

    /// Waits until this many members of the group are connected.
    async fn connected(&self, wanted: usize) -> Result<()> {
        let reached = async {
            let mut looks = interval(Duration::from_millis(100));
            loop {
                looks.tick().await;
                let status = self
                    .stage
                    .control_plane
                    .cli_json(&["fleet", "status"])
                    .await?;
                let nodes = status["nodes"].as_array().context("nodes")?;
                if nodes.iter().filter(|row| row["lease"] == "held").count() == wanted {
                    return anyhow::Ok(());
                }
            }
        };
        let log = || self.stage.control_plane.log_tail();
        timeout(PATIENCE, reached).await.with_context(log)?
    }

    async fn acknowledged(&self, migration: &str) -> Result<Vec<String>> {
        let show = ["migration", "status", migration];
        let status = self.stage.control_plane.cli_json(&show).await?;
        let status: MigrationStatus = serde_json::from_value(status)?;
        let mut entries = status.timeline.iter();
        let hold = entries.rfind(|entry| entry.step == "hold" && entry.event == "done");
        let hold = hold.context("no hold on record")?;
        let named = &hold.evidence["convergence"]["acknowledged"];
        let named = named.as_array().into_iter().flatten();
        Ok(named
            .filter_map(Value::as_str)
            .map(ToOwned::to_owned)
            .collect())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_whose_streams_are_all_reset_is_not_passed_over() -> Result<()> {
    let outage = Outage::open().await?;
    let control_plane = &outage.stage.control_plane;
    outage.connected(MEMBERS).await?;
    let (source, target) = (outage.stage.source.name(), outage.stage.target.name());
    let servers = ["--source", source, "--target", target];
    let create = [&["migration", "create", "m"][..], &servers].concat();
    control_plane.cli_ok(&create).await?;
    let preflight = control_plane.cli(&["migration", "preflight", "m"]).await?;
    ensure!(matches!(preflight.code, Some(0 | 2)), "{preflight:?}");
    control_plane.cli_ok(&["migration", "start", "m"]).await?;

    // Their leases would be over now if each counted as one that has ended.
    let began = Instant::now();
    outage.gate.sever();
    outage.connected(0).await?;
    let refused = control_plane.cli(&["migration", "switch", "m"]).await?;
    ensure!(refused.code == Some(1), "{refused:?}");
    for slot in 0..MEMBERS {
        let name = format!("{GROUP}/{PATH}@{slot}");
        ensure!(refused.stderr.contains(&name), "{refused:?}");
    }
    ensure!(
        began.elapsed() > Duration::from_secs(2),
        "the leases of closed ones are over"
    );

    outage.gate.restore();
    outage.connected(MEMBERS).await?;
    control_plane.cli_ok(&["migration", "switch", "m"]).await?;
    let acknowledged = outage.acknowledged("m").await?;
    ensure!(acknowledged.len() == MEMBERS, "{acknowledged:?}");
    Ok(())
}

const MEMBERS: usize = 3;
const PATIENCE: Duration = Duration::from_secs(60);
