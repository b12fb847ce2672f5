//! One member whose way to the control plane is reset while it serves on.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use pointsman_lab::{gate::Gate, postgres::connect};
use serde_json::Value;
use tokio::time::{Instant, interval, timeout};

use super::{
    envoys::{Deployment, PATH},
    stage::{GROUP, Stage},
};

/// The row of the member at slot 0 in `fleet status`, once it satisfies `holds`.
async fn row_until(stage: &Stage, holds: impl Fn(Option<&Value>) -> bool) -> Result<()> {
    let name = format!("{GROUP}/{PATH}@0");
    let mut last = Value::Null;
    let reached = async {
        let mut looks = interval(Duration::from_millis(100));
        loop {
            looks.tick().await;
            last = stage.control_plane.cli_json(&["fleet", "status"]).await?;
            let nodes = last["nodes"].as_array().context("nodes")?;
            if holds(nodes.iter().find(|row| row["node"] == *name)) {
                return anyhow::Ok(());
            }
        }
    };
    let ended = timeout(PATIENCE, reached).await;
    ended.with_context(|| format!("{last:#}\n{}", stage.control_plane.log_tail()))?
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_serves_on_is_awaited_until_its_servers_have_none_of_its_connections()
-> Result<()> {
    let mut stage = Stage::open().await?;
    stage.declare().await?;
    stage.add_group().await?;
    let gate = Gate::start(stage.control_plane.xds()).await?;
    let direct = Deployment::new(&stage).await?;
    let gated = direct
        .clone()
        .over(stage.control_plane.xds(), gate.address());
    let _own = gated.start(0, "0").await?;
    // Enough others, so that one that goes is not most of the group.
    let _others = [direct.start(1, "1").await?, direct.start(2, "2").await?];
    let through = gated.writer(0)?;
    let session = connect(&format!(
        "host={} port={} user=postgres dbname={GROUP}",
        through.ip(),
        through.port()
    ))
    .await?;
    row_until(&stage, |row| {
        row.is_some_and(|row| row["lease"] == "held" && row["usage"]["sessions"] == 1)
    })
    .await?;

    gate.sever();
    let began = Instant::now();
    row_until(&stage, |row| {
        let kept = row.is_some_and(|row| row["lease"] == "kept");
        kept && began.elapsed() > 2 * CLOSED
    })
    .await?;
    session.query_one("SELECT 1", &[]).await?;
    let log = stage.control_plane.log_tail();
    ensure!(log.contains("has its session from"), "{log}");

    drop(session);
    row_until(&stage, |row| row.is_none()).await
}

/// How long the lease of a member runs whose connection was closed.
const CLOSED: Duration = Duration::from_millis(1_500);
const PATIENCE: Duration = Duration::from_secs(60);
