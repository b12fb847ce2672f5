//! How long a sidecar that has started from its cache takes to go back.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pointsman_lab::{GateOptions, Lab, gate::Gate};
use tokio::time::{Instant, sleep};

use super::{
    beside::Beside,
    support::{SOON, options, tell},
};

/// The sidecar that has a cache.
const NUMBER: u8 = 1;
const ROUNDS: usize = 12;

/// Whether the sidecar with the cache is connected and has everything.
async fn is_back(lab: &Lab) -> Result<bool> {
    let fleet = lab.control_plane.cli_json(&["fleet", "status"]).await?;
    let nodes = fleet["nodes"].as_array().context("nodes")?;
    Ok(nodes
        .iter()
        .any(|node| node["node"] == "sc1" && node["state"] == "SYNCED"))
}

async fn until(lab: &Lab, back: bool) -> Result<()> {
    let deadline = Instant::now() + SOON;
    while is_back(lab).await? != back {
        ensure!(Instant::now() < deadline, "not: back is {back}");
        sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement, for people"]
async fn how_long_a_sidecar_takes_to_go_back() -> Result<()> {
    let mut lab = Lab::start(options(GateOptions::default())).await?;
    let gate = Gate::start(lab.control_plane.xds()).await?;
    let beside = Beside::of(&lab, NUMBER, gate.address()).await?;
    let cache = beside.cache(&lab, "1h").await?;
    cache.says("the control plane serves").await?;
    lab.sidecars[usize::from(NUMBER)].kill().await?;
    let listener = lab.writer(NUMBER, lab.databases.first().context("a database")?);
    let mut all = Vec::new();
    for round in 0..ROUNDS {
        gate.sever();
        let mut sidecar = beside.start(&lab).await?;
        sidecar.listening(listener).await?;
        until(&lab, false).await?;
        let ends = cache.log()?.matches("the control plane serves").count();
        gate.restore();
        let began = Instant::now();
        let served = || {
            let log = cache.log().unwrap_or_default();
            log.matches("the control plane serves").count() > ends
        };
        cache.until("it has ended its streams", served).await?;
        let ended = began.elapsed();
        until(&lab, true).await?;
        let back = began.elapsed();
        tell(&format!(
            "round {round}: the cache ended its streams after {} ms, the sidecar was SYNCED after {} ms",
            ended.as_millis(),
            back.as_millis()
        ));
        all.push(back);
        sidecar.kill().await?;
    }
    all.sort();
    tell(&format!("back after, sorted: {all:?}"));
    Ok(())
}
