//! A target that goes down in its bake.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pointsman_lab::{GateOptions, Lab, LabOptions};
use serde_json::Value;
use tokio::time::{Instant, timeout};

use super::{
    seen::{connect_errors, errors_of_reconnecting},
    support::{SOON, TestEnvironment, connect, options, tell},
};

/// A hold that lasts longer than anything here.
fn long_hold() -> LabOptions {
    LabOptions {
        settings: "[hold]\nbudget_ms = 30000\n".to_owned(),
        ..options(GateOptions::default())
    }
}

fn are_held(status: &Value) -> bool {
    let headline = status["headline"].as_str();
    headline.is_some_and(|said| said.contains("new connections are held since"))
}

/// Waits until each sidecar parks who comes, instead of refusing.
async fn everybody_is_parked(lab: &Lab) -> Result<()> {
    let deadline = Instant::now() + SOON;
    for (number, _) in (0..).zip(&lab.sidecars) {
        for database in &lab.databases {
            let at = lab.writer(number, database);
            while timeout(PARKED, connect(at, &database.name)).await.is_ok() {
                ensure!(Instant::now() < deadline, "{at} does not park");
            }
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn s7_who_comes_while_the_target_restarts_waits_and_meets_no_error() -> Result<()> {
    let env = TestEnvironment::ready(long_hold()).await?;
    env.switch().await?;
    env.proven().await?;
    env.lab.pair.target.crash().await?;
    env.until("new connections are held", are_held).await?;
    everybody_is_parked(&env.lab).await?;
    let held = env.now();
    env.lab.pair.target.start().await?;
    env.served_by(&env.lab.pair.target, held).await?;
    let record = env.workload.record();
    let errors = errors_of_reconnecting(&record, held);
    ensure!(errors.is_empty(), "{errors:#?}");
    let errors = connect_errors(&record, held);
    ensure!(errors.is_empty(), "{errors:#?}");
    env.proven().await?;
    env.nothing_is_lost_on(|lab| &lab.pair.target).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn s7_a_control_plane_that_is_cut_off_from_the_target_holds_nobody() -> Result<()> {
    let gates = GateOptions {
        target_control: true,
        ..GateOptions::default()
    };
    let env = TestEnvironment::ready(options(gates)).await?;
    env.switch().await?;
    env.proven().await?;
    let cut = env.now();
    env.target_gate()?.sever();
    let status = env
        .until("it is said why nobody is held", |status| {
            let headline = status["headline"].as_str();
            headline.is_some_and(|said| said.contains("nobody is held: sidecar "))
        })
        .await?;
    tell(status["headline"].as_str().context("a headline")?);
    env.served_by(&env.lab.pair.target, env.now()).await?;
    let record = env.workload.record();
    let errors = errors_of_reconnecting(&record, cut);
    ensure!(errors.is_empty(), "{errors:#?}");
    env.target_gate()?.restore();
    env.proven().await?;
    env.nothing_is_lost_on(|lab| &lab.pair.target).await?;
    Ok(())
}

/// A connection that is refused is answered far sooner.
const PARKED: Duration = Duration::from_millis(400);
