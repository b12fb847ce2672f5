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
        CLOSING, House, MARKER, PROMOTION, SLOT, SOON, has_ended, options, refusals, short_hold,
    },
};

#[tokio::test(flavor = "multi_thread")]
async fn killed_behind_the_fence_the_switch_is_undone() -> Result<()> {
    let gates = GateOptions {
        source_control: true,
        ..GateOptions::default()
    };
    let mut house = House::ready(options(gates)).await?;
    let began = house.now();
    for point in [CLOSING, MARKER] {
        let caught = house.source_gate()?.hold_answer_to(point);
        let switch = house.switch_until(caught).await?;
        house.lab.control_plane.kill9().await?;
        switch.ended().await?;
        house.source_gate()?.release();
        let restarted = house.now();
        house.lab.control_plane.restart().await?;
        house.settled("undone").await?;
        house.served_by(&house.lab.pair.source, restarted).await?;
        house.lab.synced().await?;
    }
    let undone = house.now();
    house.switch().await?;
    let (_lab, record) = house.nothing_is_lost_on(|lab| &lab.pair.target).await?;
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
    let mut house = House::ready(options(gates)).await?;
    let began = house.now();
    let caught = hold(house.target_gate()?);
    let switch = house.switch_until(caught).await?;
    house.lab.control_plane.kill9().await?;
    switch.ended().await?;
    house.target_gate()?.release();
    let restarted = house.now();
    house.lab.control_plane.restart().await?;
    house.settled("baking").await?;
    house.served_by(&house.lab.pair.target, restarted).await?;
    house.proven().await?;
    house.roll_back().await?;
    let (_lab, record) = house.nothing_is_lost_on(|lab| &lab.pair.source).await?;
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
    let mut house = House::ready(options(gates)).await?;
    let caught = house.source_gate()?.hold_at(MARKER);
    let switch = house.switch_until(caught).await?;
    let gates = &house.lab.gates;
    let release = async { gates.source_control.as_ref().map(Gate::release) };
    // It parks when the step that is under way has ended.
    let (stopped, _released) = tokio::join!(house.lab.control_plane.stop(), release);
    ensure!(stopped?.success(), "it did not stop in order");
    switch.ended().await?;
    let restarted = house.now();
    house.lab.control_plane.restart().await?;
    // Forward or back, by which of the two came first; never in between.
    let settled = house.until("the switch has ended", has_ended).await?;
    let serving: fn(&Lab) -> &PostgresServer = match settled["state"].as_str() {
        Some("undone") => |lab| &lab.pair.source,
        Some("baking") => |lab| &lab.pair.target,
        _ => bail!("in between: {settled:#}"),
    };
    house.served_by(serving(&house.lab), restarted).await?;
    house.nothing_is_lost_on(serving).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_control_plane_gone_a_hold_ends_in_refusal() -> Result<()> {
    let gates = GateOptions {
        source_control: true,
        ..GateOptions::default()
    };
    let budget = Duration::from_secs(4);
    let mut house = House::ready(short_hold(budget, gates)).await?;
    let caught = house.source_gate()?.hold_at(MARKER);
    let switch = house.switch_until(caught).await?;
    let (killed, fenced) = (Instant::now(), house.now());
    house.lab.control_plane.kill9().await?;
    switch.ended().await?;

    // Parked first, then refused by the sidecars: the source, which is fenced, would have
    // answered with a SQLSTATE.
    let parked = refusals(&house.lab).await?;
    let waited = killed.elapsed();
    ensure!(waited < budget + MARGIN, "parked for {waited:?}");
    let again = Instant::now();
    let refused = refusals(&house.lab).await?;
    let at_once = again.elapsed();
    ensure!(at_once < MARGIN, "refused after {at_once:?} only");
    for error in parked.iter().chain(&refused) {
        ensure!(error.sqlstate.is_none(), "it reached a server: {error:?}");
    }
    let record = house.workload.record();
    let errors = connect_errors(&record, fenced);
    ensure!(!errors.is_empty(), "no client was refused");
    let told = errors.iter().find(|failure| failure.sqlstate.is_some());
    ensure!(told.is_none(), "a client reached a server: {told:?}");

    house.source_gate()?.release();
    let restarted = house.now();
    house.lab.control_plane.restart().await?;
    house.settled("undone").await?;
    house.served_by(&house.lab.pair.source, restarted).await?;
    house.nothing_is_lost_on(|lab| &lab.pair.source).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_control_plane_traffic_keeps_flowing() -> Result<()> {
    let mut house = House::ready(options(GateOptions::default())).await?;
    flows_without_the_control_plane(&mut house).await?;
    house.switch().await?;
    flows_without_the_control_plane(&mut house).await?;
    house.proven().await?;
    house.cli_ok(&["migration", "complete", "m"]).await?;
    flows_without_the_control_plane(&mut house).await?;
    house.nothing_is_lost_on(|lab| &lab.pair.target).await?;
    Ok(())
}

/// No client notices that the control plane is killed, or that it is back.
async fn flows_without_the_control_plane(house: &mut House) -> Result<()> {
    let before = house.now();
    house.lab.control_plane.kill9().await?;
    house.workload.more_acked(200, SOON).await?;
    house.lab.control_plane.restart().await?;
    house.lab.synced().await?;
    house.workload.more_acked(50, SOON).await?;
    let errors = house.workload.record().errors_between(before, house.now());
    ensure!(errors == 0, "{errors} errors");
    Ok(())
}

/// What a machine that is busy with other tests may add to a budget.
const MARGIN: Duration = Duration::from_secs(3);
