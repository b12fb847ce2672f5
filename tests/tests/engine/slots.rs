//! Slots that keep WAL: production's disk is worth more than the way back.

use anyhow::{Result, ensure};
use pointsman_cutover::{EngineError, Settings, Status, machine::State};
use pointsman_lab::postgres::{PostgresServer, STANDBY_SLOT};
use tokio::time::timeout;

use super::{
    servers::{SOON, eventually, rows, write},
    support::{TestEnvironment, is_in, story},
};

const MIB: u64 = 1 << 20;

fn little_room() -> Settings {
    Settings {
        slots_warn: 24 * MIB,
        slots_drop: 64 * MIB,
        ..Settings::default()
    }
}

async fn slots(server: &PostgresServer) -> Result<Vec<String>> {
    let session = server.client("postgres").await?;
    let sql = "SELECT slot_name::text FROM pg_replication_slots ORDER BY 1";
    let found = session.query(sql, &[]).await?;
    Ok(found.iter().map(|row| row.get(0)).collect())
}

/// Writes so much WAL, in records that no table has.
async fn fill(server: &PostgresServer, mib: u64) -> Result<()> {
    let session = server.client("postgres").await?;
    let sql = "SELECT pg_logical_emit_message(false, 'fill', repeat('x', 1048576))";
    for _ in 0..mib {
        session.execute(sql, &[]).await?;
    }
    Ok(())
}

fn warned(status: &Status) -> bool {
    let mut warnings = status.alarm_warnings.iter();
    warnings.any(|warning| warning.contains("MiB of WAL on green") && warning.contains("64 MiB"))
}

fn given_up(status: &Status) -> bool {
    status.reverse_stream() == "broken" && status.way_back.message.contains("slots.drop_mib")
}

#[tokio::test(flavor = "multi_thread")]
async fn s14_slots_that_keep_too_much_are_said_and_then_dropped_with_the_lossless_way_back()
-> Result<()> {
    let env = TestEnvironment::new(little_room()).await?;
    env.switched().await?;
    write(&env.pair.target, 1, 1).await?;
    eventually("the stream delivers", async || {
        Ok(rows(&env.pair.source, 1).await? == 1)
    })
    .await?;
    env.stream_gate.sever();
    write(&env.pair.target, 1, 2).await?;
    fill(&env.pair.target, 30).await?;
    let status = env.until("the first limit is said", warned).await?;
    ensure!(!given_up(&status) && !slots(&env.pair.target).await?.is_empty());
    let mut names = slots(&env.pair.target).await?;
    names.retain(|name| name.starts_with("pointsman_rb_"));
    ensure!(names.len() == 2, "{names:?}");

    fill(&env.pair.target, 50).await?;
    let status = env.until("the slots are given up", given_up).await?;
    ensure!(!status.way_back.lossless, "{:?}", status.way_back);
    for name in &names {
        ensure!(status.way_back.message.contains(name), "{}", story(&status));
    }
    eventually("the slots are gone", async || {
        let left = slots(&env.pair.target).await?;
        Ok(names.iter().all(|name| !left.contains(name)))
    })
    .await?;
    write(&env.pair.target, 1, 3).await?;
    env.stream_gate.restore();
    let refused = env.engine().rollback("m", false).await;
    ensure!(
        matches!(refused, Err(EngineError::Refused(_))),
        "{refused:?}"
    );
    let status = env.engine().rollback("m", true).await?;
    println!("{}", story(&status));
    is_in(&status, &State::RolledBack)?;
    write(&env.pair.source, 1, 4).await
}

#[tokio::test(flavor = "multi_thread")]
async fn s14_while_an_operator_is_waited_for_slots_are_said_and_dropped_too() -> Result<()> {
    let env = TestEnvironment::new(little_room()).await?;
    env.switched().await?;
    env.stream_gate.sever();
    let cause = "somebody moved routes";
    env.engine().park("m", cause.to_owned()).await?;
    write(&env.pair.target, 1, 1).await?;
    fill(&env.pair.target, 30).await?;
    let status = env.until("the first limit is said", warned).await?;
    ensure!(
        status.headline.contains("slots.drop_mib"),
        "{}",
        story(&status)
    );
    fill(&env.pair.target, 50).await?;
    eventually("the slots are gone", async || {
        let left = slots(&env.pair.target).await?;
        Ok(!left.iter().any(|name| name.starts_with("pointsman_rb_")))
    })
    .await?;
    let status = env
        .until("that is on record", |status| {
            let mut entries = status.entries.iter();
            entries.any(|entry| entry.message.contains("slots.drop_mib"))
        })
        .await?;
    ensure!(status.headline.contains(cause), "{}", story(&status));

    env.stream_gate.restore();
    env.engine().resolve("m", "retry").await?;
    let status = env.until("it bakes on", given_up).await?;
    ensure!(!status.way_back.lossless, "{:?}", status.way_back);
    let refused = env.engine().rollback("m", false).await;
    ensure!(
        matches!(refused, Err(EngineError::Refused(_))),
        "{refused:?}"
    );
    let status = env.engine().rollback("m", true).await?;
    is_in(&status, &State::RolledBack)
}

#[tokio::test(flavor = "multi_thread")]
async fn s14_a_completion_before_the_stream_is_made_leaves_no_slot_on_the_source() -> Result<()> {
    let env = TestEnvironment::new(Settings::default()).await?;
    env.started().await?;
    let promotion = env.target_gate.hold_at("THEN pg_promote");
    let switch = env.begin_switch();
    promotion.within(SOON).await?;
    let arming = env.source_gate.hold_at("pg_drop_replication_slot");
    env.target_gate.release();
    timeout(SOON, switch).await???;
    arming.within(SOON).await?;
    // The arming that is tried again finds no target, and what the gate holds is lost.
    env.target_gate.sever();
    env.source_gate.sever();
    ensure!(slots(&env.pair.source).await? == [STANDBY_SLOT]);
    env.source_gate.restore();
    env.target_gate.restore();
    eventually("it is completed", async || {
        Ok(env.engine().complete("m", false).await.is_ok())
    })
    .await?;
    is_in(&env.engine().status("m")?, &State::Completed)?;
    let left = slots(&env.pair.source).await?;
    ensure!(left.is_empty(), "{left:?}");
    Ok(())
}

/// What a step that fails half-way has made is on no record.
#[tokio::test(flavor = "multi_thread")]
async fn s14_a_step_that_could_make_one_slot_of_two_leaves_none_behind() -> Result<()> {
    let env = TestEnvironment::new(Settings::default()).await?;
    env.started().await?;
    let caught = env.target_gate.hold_at("THEN pg_promote");
    let switch = env.begin_switch();
    caught.within(SOON).await?;
    // Room for one is left.
    let target = env.pair.target.client("postgres").await?;
    let occupy = "SELECT pg_create_physical_replication_slot('other_' || n) FROM generate_series(2, \
         current_setting('max_replication_slots')::int \
           - (SELECT count(*)::int FROM pg_replication_slots)) AS n";
    target.query(occupy, &[]).await?;
    drop(target);
    env.target_gate.release();
    let status = timeout(SOON, switch).await???;
    is_in(&status, &State::RolledBack)?;
    let full = "all replication slots are in use";
    ensure!(status.headline.contains(full), "{}", story(&status));
    let mut left = slots(&env.pair.target).await?;
    left.retain(|name| name.starts_with("pointsman_rb_"));
    ensure!(left.is_empty(), "{left:?}\n{}", story(&status));
    write(&env.pair.source, 1, 1).await
}

#[tokio::test(flavor = "multi_thread")]
async fn s14_killed_before_it_had_dropped_them_the_next_engine_drops_them() -> Result<()> {
    let mut env = TestEnvironment::new(little_room()).await?;
    env.switched().await?;
    env.stream_gate.sever();
    let dropping = env.target_gate.hold_at("pg_drop_replication_slot");
    fill(&env.pair.target, 80).await?;
    env.kill_at(dropping).await?;
    env.lose_requests_to_target().await?;
    let left = slots(&env.pair.target).await?;
    ensure!(left.iter().any(|name| name.starts_with("pointsman_rb_")));
    env.take_over().await?;
    env.until("the slots are given up", given_up).await?;
    eventually("the slots are gone", async || {
        let left = slots(&env.pair.target).await?;
        Ok(!left.iter().any(|name| name.starts_with("pointsman_rb_")))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn s14_without_a_way_back_the_slot_of_the_former_standby_goes_from_the_source() -> Result<()>
{
    // Before PostgreSQL 16 such a role makes no subscription.
    let env = TestEnvironment::without_superuser(Settings::default()).await?;
    env.started().await?;
    ensure!(slots(&env.pair.source).await? == [STANDBY_SLOT]);
    env.engine().switch("m").await?;
    env.until("the stream is proven, or will never be", |status| {
        ["proven", "broken"].contains(&status.reverse_stream())
    })
    .await?;
    let left = slots(&env.pair.source).await?;
    ensure!(left.is_empty(), "{left:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn s14_a_target_that_is_down_for_good_leaves_no_slot_on_the_source() -> Result<()> {
    let env = TestEnvironment::new(Settings::default()).await?;
    env.started().await?;
    let opening = env
        .target_gate
        .hold_at("DELETE FROM pointsman.fence WHERE migration");
    let switch = env.begin_switch();
    opening.within(SOON).await?;
    // The reverse stream is never made.
    env.source_gate.sever();
    env.target_gate.release();
    switch.await??;
    env.pair.target.crash().await?;
    env.source_gate.restore();
    let silent = |status: &Status| status.headline.starts_with("green does not answer since ");
    env.until("the target is silent", silent).await?;
    ensure!(slots(&env.pair.source).await? == [STANDBY_SLOT]);
    let opened = env
        .engine()
        .resolve("m", "open-source-target-is-down")
        .await?;
    is_in(&opened, &State::RolledBack)?;
    let left = slots(&env.pair.source).await?;
    ensure!(left.is_empty(), "{left:?}");
    Ok(())
}
