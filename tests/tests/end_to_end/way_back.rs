//! The way back after the target has served.

use std::fs;

use anyhow::{Context, Result, ensure};
use pointsman_lab::{GateOptions, LabOptions, postgres::PostgresServer, workload::verify};
use serde_json::Value;
use tokio::time::Instant;

use super::{
    seen::errors_of_reconnecting,
    support::{NAME, SOON, TestEnvironment, options, tell},
};

#[tokio::test(flavor = "multi_thread")]
async fn an_alarm_sends_the_writers_back_by_itself() -> Result<()> {
    let env = TestEnvironment::ready(options(GateOptions::default())).await?;
    env.switch().await?;
    env.proven().await?;
    let target = env.lab.pair.target.client("postgres").await?;
    for breaks in [
        "ALTER SYSTEM SET default_transaction_read_only = on",
        "SELECT pg_reload_conf()",
    ] {
        target.batch_execute(breaks).await?;
    }
    let broke = env.now();
    let status = env
        .until("the alarm has sent the writers back", |status| {
            status["state"] == "rolled_back"
        })
        .await?;
    let cause = status["cause"].as_str().unwrap_or_default();
    ensure!(cause.starts_with("alarm of write probe"), "{cause}");
    env.served_by(&env.lab.pair.source, broke).await?;
    env.nothing_is_lost_on(|lab| &lab.pair.source).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn s23_a_target_that_never_takes_a_write_sends_the_writers_back() -> Result<()> {
    let env = TestEnvironment::ready(LabOptions {
        settings: "[alarm]\nfirst_write_ms = 1000\n".to_owned(),
        ..options(GateOptions::default())
    })
    .await?;
    let target = env.lab.pair.target.client("postgres").await?;
    for breaks in [
        "ALTER SYSTEM SET default_transaction_read_only = on",
        "SELECT pg_reload_conf()",
    ] {
        target.batch_execute(breaks).await?;
    }
    let asked = env.now();
    env.lab
        .control_plane
        .cli(&["migration", "switch", NAME])
        .await?;
    let status = env
        .until("the alarm has sent the writers back", |status| {
            status["state"] == "rolled_back"
        })
        .await?;
    let cause = status["cause"].as_str().unwrap_or_default();
    ensure!(cause.contains("every write since the switch"), "{cause}");
    env.served_by(&env.lab.pair.source, asked).await?;
    env.nothing_is_lost_on(|lab| &lab.pair.source).await?;
    Ok(())
}

/// The probe's own row, beside the engine's.
const PROBED: &str = "SELECT count(*) FROM pointsman.probe WHERE id = 2";

#[tokio::test(flavor = "multi_thread")]
async fn s23_without_a_role_of_its_own_nothing_is_probed_and_that_is_said() -> Result<()> {
    let env = TestEnvironment::at_work(LabOptions {
        settings: "[alarm]\nfirst_write_ms = 1000\n".to_owned(),
        ..options(GateOptions::default())
    })
    .await?;
    let file = env.lab.scratch.path().join("databases.toml");
    let declared = fs::read_to_string(&file)?;
    let roles = declared.lines().filter(|line| !line.starts_with("probe"));
    fs::write(&file, roles.collect::<Vec<_>>().join("\n"))?;
    let apply = ["database", "apply", &file.to_string_lossy()];
    env.cli_ok(&apply).await?;
    env.prepare().await?;
    let checked = env.cli(&["migration", "preflight", NAME]).await?.stdout;
    ensure!(checked.contains("no `probe` is declared"), "{checked}");

    env.switch().await?;
    let status = env
        .until("it is said that nothing is probed", |status| {
            let warnings = status["alarm_warnings"].as_array().into_iter().flatten();
            let mut warnings = warnings.filter_map(Value::as_str);
            warnings.any(|warning| warning.ends_with("no `probe` is declared for green"))
        })
        .await?;
    ensure!(status["state"] == "baking", "{status:#}");
    let target = env.lab.pair.target.client("orders").await?;
    ensure!(target.query_one(PROBED, &[]).await?.get::<_, i64>(0) == 0);

    env.roll_back().await?;
    env.nothing_is_lost_on(|lab| &lab.pair.source).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_arms_first_and_holds_after() -> Result<()> {
    let gates = GateOptions {
        source_control: true,
        ..GateOptions::default()
    };
    let env = TestEnvironment::ready(options(gates)).await?;
    let caught = env
        .source_gate()?
        .hold_at("CREATE SUBSCRIPTION pointsman_rb");
    env.switch().await?;
    caught.within(SOON).await?;
    let asked = env.now();
    let rollback = env.begin(&["migration", "rollback", NAME])?;
    let waits = env
        .until("the rollback waits", |status| {
            let headline = status["headline"].as_str();
            headline.is_some_and(|message| message.contains("a rollback waits for it"))
        })
        .await?;
    ensure!(waits["way_back"]["kind"] == "arm_and_switch", "{waits:#}");
    // Nobody is held meanwhile.
    env.workload.more_acked(100, SOON).await?;
    env.served_by(&env.lab.pair.target, asked).await?;
    let record = env.workload.record();
    let errors = errors_of_reconnecting(&record, asked);
    ensure!(errors.is_empty(), "{errors:#?}");

    env.source_gate()?.release();
    let output = rollback.ended().await?;
    ensure!(output.code == Some(0), "{output:?}");
    env.served_by(&env.lab.pair.source, env.now()).await?;
    env.nothing_is_lost_on(|lab| &lab.pair.source).await?;
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

/// The number before `after` in `message`.
fn number_before(message: &str, after: &str) -> Result<usize> {
    let before = message.split(after).next().unwrap_or_default();
    let number = before.rsplit(' ').find(|word| !word.is_empty());
    let number = number.with_context(|| format!("no number before {after:?} in {message:?}"))?;
    Ok(number.parse()?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loss_is_counted_and_accepted_before_it_happens() -> Result<()> {
    let env = TestEnvironment::ready(options(GateOptions::default())).await?;
    env.switch().await?;
    env.proven().await?;
    lose_the_stream(&env.lab.pair.target).await?;
    env.workload.more_acked(100, SOON).await?;

    let refused = env.cli(&["migration", "rollback", NAME]).await?;
    ensure!(refused.code == Some(1), "{refused:?}");
    ensure!(refused.stderr.contains("--accept-loss"), "{refused:?}");
    let said = number_before(&refused.stderr, " committed transactions")?;
    ensure!(said >= 100, "{said} of at least 100: {refused:?}");
    env.served_by(&env.lab.pair.target, env.now()).await?;

    let (asked, accepted) = (env.now(), ["migration", "rollback", NAME, "--accept-loss"]);
    env.cli_ok(&accepted).await?;
    env.served_by(&env.lab.pair.source, asked).await?;
    let status = env.settled("rolled_back").await?;
    let given_up = status.switch(3).filter(|entry| entry.event == "done");
    let given_up = given_up.filter(|entry| entry.step == "catch_up").last();
    let given_up = given_up.context("nothing was given up")?;
    let given_up = number_before(&given_up.message, " committed transactions")?;

    let TestEnvironment { workload, lab } = env;
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
