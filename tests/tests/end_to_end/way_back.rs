//! The way back after the target has served.

use anyhow::{Context, Result, ensure};
use pointsman_lab::{GateOptions, postgres::PostgresServer, workload::verify};
use tokio::time::Instant;

use super::{
    seen::errors_of_reconnecting,
    support::{House, NAME, SOON, options, tell},
};

#[tokio::test(flavor = "multi_thread")]
async fn an_alarm_sends_the_writers_back_by_itself() -> Result<()> {
    let house = House::ready(options(GateOptions::default())).await?;
    house.switch().await?;
    house.proven().await?;
    let target = house.lab.pair.target.client("postgres").await?;
    for breaks in [
        "ALTER SYSTEM SET default_transaction_read_only = on",
        "SELECT pg_reload_conf()",
    ] {
        target.batch_execute(breaks).await?;
    }
    let broke = house.now();
    let status = house
        .until("the alarm has sent the writers back", |status| {
            status["state"] == "rolled_back"
        })
        .await?;
    let cause = status["cause"].as_str().unwrap_or_default();
    ensure!(cause.starts_with("alarm of write probe"), "{cause}");
    house.served_by(&house.lab.pair.source, broke).await?;
    house.nothing_is_lost_on(|lab| &lab.pair.source).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_arms_first_and_holds_after() -> Result<()> {
    let gates = GateOptions {
        source_control: true,
        ..GateOptions::default()
    };
    let house = House::ready(options(gates)).await?;
    let caught = house.source_gate()?.hold_at("CREATE SUBSCRIPTION");
    house.switch().await?;
    caught.within(SOON).await?;
    let asked = house.now();
    let rollback = house.begin(&["migration", "rollback", NAME])?;
    let waits = house
        .until("the rollback waits", |status| {
            let headline = status["headline"].as_str();
            headline.is_some_and(|words| words.contains("a rollback waits for it"))
        })
        .await?;
    ensure!(waits["way_back"]["kind"] == "arm_and_switch", "{waits:#}");
    // Nobody is held meanwhile.
    house.workload.more_acked(100, SOON).await?;
    house.served_by(&house.lab.pair.target, asked).await?;
    let record = house.workload.record();
    let errors = errors_of_reconnecting(&record, asked);
    ensure!(errors.is_empty(), "{errors:#?}");

    house.source_gate()?.release();
    let output = rollback.ended().await?;
    ensure!(output.code == Some(0), "{output:?}");
    house.served_by(&house.lab.pair.source, house.now()).await?;
    house.nothing_is_lost_on(|lab| &lab.pair.source).await?;
    Ok(())
}

/// Takes the slots of the reverse stream away, and with them what it has not delivered.
async fn lose_the_stream(target: &PostgresServer) -> Result<()> {
    let session = target.client("postgres").await?;
    let end = "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots \
               WHERE slot_type = 'logical' AND active_pid IS NOT NULL";
    let drop = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots \
                WHERE slot_type = 'logical' AND active_pid IS NULL";
    let left = "SELECT FROM pg_replication_slots WHERE slot_type = 'logical'";
    let deadline = Instant::now() + SOON;
    while !session.query(left, &[]).await?.is_empty() {
        ensure!(Instant::now() < deadline, "the slots do not go");
        session.execute(end, &[]).await?;
        // Their subscribers may have come back in between.
        session.execute(drop, &[]).await.ok();
    }
    Ok(())
}

/// The number before `after` in `words`.
fn number_before(words: &str, after: &str) -> Result<usize> {
    let before = words.split(after).next().unwrap_or_default();
    let number = before.rsplit(' ').find(|word| !word.is_empty());
    let number = number.with_context(|| format!("no number before {after:?} in {words:?}"))?;
    Ok(number.parse()?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loss_is_counted_and_accepted_before_it_happens() -> Result<()> {
    let house = House::ready(options(GateOptions::default())).await?;
    house.switch().await?;
    house.proven().await?;
    lose_the_stream(&house.lab.pair.target).await?;
    house.workload.more_acked(100, SOON).await?;

    let refused = house.cli(&["migration", "rollback", NAME]).await?;
    ensure!(refused.code == Some(1), "{refused:?}");
    ensure!(refused.stderr.contains("--accept-loss"), "{refused:?}");
    let said = number_before(&refused.stderr, " committed transactions")?;
    ensure!(said >= 100, "{said} of at least 100: {refused:?}");
    house.served_by(&house.lab.pair.target, house.now()).await?;

    let (asked, accepted) = (
        house.now(),
        ["migration", "rollback", NAME, "--accept-loss"],
    );
    house.cli_ok(&accepted).await?;
    house.served_by(&house.lab.pair.source, asked).await?;
    let standing = house.settled("rolled_back").await?;
    let given_up = standing.switch(3).filter(|entry| entry.event == "done");
    let given_up = given_up.filter(|entry| entry.step == "catch_up").last();
    let given_up = given_up.context("nothing was given up")?;
    let given_up = number_before(&given_up.words, " committed transactions")?;

    let House { workload, lab } = house;
    let record = workload.stop(SOON).await?;
    let verdict = verify::check(&record, &lab.pair.source).await?;
    tell(&format!("{given_up} were given up; {verdict}"));
    ensure!(verdict.lost.len() <= given_up, "{verdict}");
    ensure!(
        verdict.duplicated.is_empty() && verdict.phantom.is_empty(),
        "{verdict}"
    );
    ensure!(!verdict.lost.is_empty(), "nothing was lost after all");
    Ok(())
}
