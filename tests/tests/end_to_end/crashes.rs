//! `kill -9` of the control plane, wherever it hurts.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use pointsman_lab::{
    GateOptions, Lab,
    gate::{Caught, Gate},
    postgres::PostgresServer,
};
use tokio::time::Instant;

use super::{
    seen::{connect_errors, errors_of_reconnecting},
    support::{
        CLOSING, MARKER, PROMOTION, SLOT, SOON, TestEnvironment, has_ended, options, refusals,
        short_hold,
    },
};

#[tokio::test(flavor = "multi_thread")]
async fn killed_behind_the_fence_the_switch_is_undone() -> Result<()> {
    let gates = GateOptions {
        source_control: true,
        ..GateOptions::default()
    };
    let mut env = TestEnvironment::ready(options(gates)).await?;
    let began = env.now();
    for point in [CLOSING, MARKER] {
        let caught = env.source_gate()?.hold_answer_to(point);
        let switch = env.switch_until(caught).await?;
        env.lab.control_plane.kill9().await?;
        switch.ended().await?;
        env.source_gate()?.release();
        let restarted = env.now();
        env.lab.control_plane.restart().await?;
        env.settled("undone").await?;
        env.served_by(&env.lab.pair.source, restarted).await?;
        env.lab.synced().await?;
    }
    let undone = env.now();
    env.switch().await?;
    let (_lab, record) = env.nothing_is_lost_on(|lab| &lab.pair.target).await?;
    let errors = connect_errors(&record, began);
    ensure!(errors.is_empty(), "parked clients failed: {errors:#?}");
    let errors = errors_of_reconnecting(&record, undone);
    ensure!(errors.is_empty(), "{errors:#?}");
    Ok(())
}

/// Kills the control plane when the target is about to do, or has done, what `hold` catches,
/// and expects the next one to finish the switch, with a way back that loses nothing.
async fn killed_after_promotion(hold: impl FnOnce(&Gate) -> Caught) -> Result<()> {
    let gates = GateOptions {
        target_control: true,
        ..GateOptions::default()
    };
    let mut env = TestEnvironment::ready(options(gates)).await?;
    let began = env.now();
    let caught = hold(env.target_gate()?);
    let switch = env.switch_until(caught).await?;
    env.lab.control_plane.kill9().await?;
    switch.ended().await?;
    env.target_gate()?.release();
    let restarted = env.now();
    env.lab.control_plane.restart().await?;
    env.settled("baking").await?;
    env.served_by(&env.lab.pair.target, restarted).await?;
    env.proven().await?;
    env.roll_back().await?;
    let (_lab, record) = env.nothing_is_lost_on(|lab| &lab.pair.source).await?;
    let errors = connect_errors(&record, began);
    ensure!(errors.is_empty(), "parked clients failed: {errors:#?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_after_promotion_and_before_the_flip() -> Result<()> {
    killed_after_promotion(|gate| gate.hold_answer_to(PROMOTION)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_the_slots_of_the_way_back_are_made() -> Result<()> {
    killed_after_promotion(|gate| gate.hold_at(SLOT)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_in_a_switch_the_next_start_brings_it_to_its_end() -> Result<()> {
    let gates = GateOptions {
        source_control: true,
        ..GateOptions::default()
    };
    let mut env = TestEnvironment::ready(options(gates)).await?;
    let caught = env.source_gate()?.hold_at(MARKER);
    let switch = env.switch_until(caught).await?;
    let gates = &env.lab.gates;
    let release = async { gates.source_control.as_ref().map(Gate::release) };
    // It parks when the step that is under way has ended.
    let (stopped, _released) = tokio::join!(env.lab.control_plane.stop(), release);
    ensure!(stopped?.success(), "it did not stop in order");
    switch.ended().await?;
    let restarted = env.now();
    env.lab.control_plane.restart().await?;
    // Forward or back, by which of the two came first; never in between.
    let settled = env.until("the switch has ended", has_ended).await?;
    let serving: fn(&Lab) -> &PostgresServer = match settled["state"].as_str() {
        Some("undone") => |lab| &lab.pair.source,
        Some("baking") => |lab| &lab.pair.target,
        _ => bail!("in between: {settled:#}"),
    };
    env.served_by(serving(&env.lab), restarted).await?;
    env.nothing_is_lost_on(serving).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_control_plane_gone_a_hold_ends_in_refusal() -> Result<()> {
    let gates = GateOptions {
        source_control: true,
        ..GateOptions::default()
    };
    let budget = Duration::from_secs(4);
    let mut env = TestEnvironment::ready(short_hold(budget, gates)).await?;
    let caught = env.source_gate()?.hold_at(MARKER);
    let switch = env.switch_until(caught).await?;
    let (killed, fenced) = (Instant::now(), env.now());
    env.lab.control_plane.kill9().await?;
    switch.ended().await?;

    // Parked first, then refused by the sidecars: the source, which is fenced, would have
    // answered with a SQLSTATE.
    let parked = refusals(&env.lab).await?;
    let waited = killed.elapsed();
    ensure!(waited < budget + MARGIN, "parked for {waited:?}");
    let again = Instant::now();
    let refused = refusals(&env.lab).await?;
    let at_once = again.elapsed();
    ensure!(at_once < MARGIN, "refused after {at_once:?} only");
    for error in parked.iter().chain(&refused) {
        ensure!(error.sqlstate.is_none(), "it reached a server: {error:?}");
    }
    let record = env.workload.record();
    let errors = connect_errors(&record, fenced);
    ensure!(!errors.is_empty(), "no client was refused");
    let told = errors.iter().find(|failure| failure.sqlstate.is_some());
    ensure!(told.is_none(), "a client reached a server: {told:?}");

    env.source_gate()?.release();
    let restarted = env.now();
    env.lab.control_plane.restart().await?;
    env.settled("undone").await?;
    env.served_by(&env.lab.pair.source, restarted).await?;
    env.nothing_is_lost_on(|lab| &lab.pair.source).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_control_plane_traffic_keeps_flowing() -> Result<()> {
    let mut env = TestEnvironment::ready(options(GateOptions::default())).await?;
    flows_without_the_control_plane(&mut env).await?;
    env.switch().await?;
    flows_without_the_control_plane(&mut env).await?;
    env.proven().await?;
    env.cli_ok(&["migration", "complete", "m"]).await?;
    flows_without_the_control_plane(&mut env).await?;
    env.nothing_is_lost_on(|lab| &lab.pair.target).await?;
    Ok(())
}

/// No client notices that the control plane is killed, or that it is back.
async fn flows_without_the_control_plane(env: &mut TestEnvironment) -> Result<()> {
    let before = env.now();
    env.lab.control_plane.kill9().await?;
    env.workload.more_acked(200, SOON).await?;
    env.lab.control_plane.restart().await?;
    env.lab.synced().await?;
    env.workload.more_acked(50, SOON).await?;
    let errors = env.workload.record().errors_between(before, env.now());
    ensure!(errors == 0, "{errors} errors");
    Ok(())
}

/// What a machine that is busy with other tests may add to a budget.
const MARGIN: Duration = Duration::from_secs(3);
