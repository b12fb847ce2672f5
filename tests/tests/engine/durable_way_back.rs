//! Commits on the target that wait for the source, where the migration wants that.

use anyhow::{Context, Result, ensure};
use pointsman_cutover::{Settings, Status, machine::State};
use pointsman_lab::postgres::{Hosting, PostgresServer};
use tokio::{task::JoinSet, time::timeout};

use super::{
    durability::names,
    exits::is_silent,
    servers::{SOON, eventually, rows, write},
    support::{TestEnvironment, is_in, story},
};

/// `None` on servers whose control role may not set what commits wait for.
async fn durable() -> Result<Option<TestEnvironment>> {
    if Hosting::from_environment()? == Hosting::Managed {
        return Ok(None);
    }
    let mut env = TestEnvironment::new(Settings::default()).await?;
    env.want_durable_way_back();
    env.switched().await?;
    env.until("it is promised", is_promised).await?;
    Ok(Some(env))
}

fn is_promised(status: &Status) -> bool {
    status.way_back.message.contains("durable since ")
}

/// What is said before a commit may not wait.
fn is_withdrawn(status: &Status) -> bool {
    let mut warnings = status.alarm_warnings.iter();
    warnings.any(|warning| warning.starts_with("the way back is not durable since "))
}

/// Whether the commit of another session there waits for a standby.
async fn waits(server: &PostgresServer) -> Result<()> {
    let session = server.client("postgres").await?;
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    eventually("a commit waits", async || {
        Ok(session.query_one(sql, &[]).await?.get::<_, i64>(0) > 0)
    })
    .await
}

/// What `ALTER SYSTEM` has set, as its file has it.
async fn is_set(server: &PostgresServer) -> Result<bool> {
    let session = server.client("postgres").await?;
    let sql = "SELECT count(*) FROM pg_file_settings WHERE name = 'synchronous_standby_names'";
    Ok(session.query_one(sql, &[]).await?.get::<_, i64>(0) > 0)
}

#[tokio::test(flavor = "multi_thread")]
async fn s7_a_target_that_dies_takes_no_acknowledged_write_with_it() -> Result<()> {
    let Some(env) = durable().await? else {
        return Ok(());
    };
    let set = names(&env.pair.target).await?;
    ensure!(set.starts_with("FIRST 2 (pointsman_rb_"), "{set}");
    for number in 1..=20 {
        write(&env.pair.target, 1, number).await?;
        // Each is there as soon as it is acknowledged.
        ensure!(rows(&env.pair.source, 1).await? == number);
    }
    env.stream_gate.sever();
    let target = env.pair.target.clone();
    let mut last = JoinSet::new();
    last.spawn(async move { write(&target, 1, 21).await });
    waits(&env.pair.target).await?;
    env.pair.target.crash().await?;
    let acknowledged = timeout(SOON, last.join_next()).await.context("it hangs")?;
    let acknowledged = acknowledged.context("it was begun")??.is_ok();
    let status = env
        .until("the target is seen to be silent", is_silent)
        .await?;
    ensure!(!acknowledged || is_withdrawn(&status), "{}", story(&status));
    ensure!(rows(&env.pair.source, 1).await? == 20);
    let opened = env.engine().resolve("m", "open-source-target-is-down");
    is_in(&opened.await?, &State::RolledBack)?;
    ensure!(rows(&env.pair.source, 1).await? == 20);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn s7_without_a_durable_way_back_none_is_promised() -> Result<()> {
    let env = TestEnvironment::new(Settings::default()).await?;
    env.switched().await?;
    write(&env.pair.target, 1, 1).await?;
    env.stream_gate.sever();
    write(&env.pair.target, 1, 2).await?;
    env.pair.target.crash().await?;
    let status = env
        .until("the target is seen to be silent", is_silent)
        .await?;
    ensure!(!is_promised(&status), "{:?}", status.way_back);
    ensure!(status.way_back.message.contains("cannot be counted"));
    ensure!(rows(&env.pair.source, 1).await? < 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn s7_commits_wait_for_a_silent_source_no_longer_than_they_may() -> Result<()> {
    let Some(env) = durable().await? else {
        return Ok(());
    };
    env.stream_gate.sever();
    let written = timeout(SOON, write(&env.pair.target, 1, 1));
    written.await.context("it hangs")??;
    // It was said before the commit came through.
    let status = env.engine().status("m")?;
    ensure!(is_withdrawn(&status), "{}", story(&status));
    ensure!(!is_promised(&status), "{:?}", status.way_back);
    ensure!(names(&env.pair.target).await?.is_empty());
    ensure!(!is_set(&env.pair.target).await?);

    env.stream_gate.restore();
    env.until("it is promised again", is_promised).await?;
    ensure!(rows(&env.pair.source, 1).await? == 1);
    write(&env.pair.target, 1, 2).await?;
    let status = env.engine().rollback("m", false).await?;
    is_in(&status, &State::RolledBack)?;
    ensure!(!is_set(&env.pair.target).await?, "{}", story(&status));
    ensure!(rows(&env.pair.source, 1).await? == 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn s7_a_completion_gives_the_setting_back_as_it_was() -> Result<()> {
    let Some(env) = durable().await? else {
        return Ok(());
    };
    let status = timeout(SOON, env.engine().complete("m", false));
    is_in(&status.await.context("it hangs")??, &State::Completed)?;
    ensure!(!is_set(&env.pair.target).await?);
    let written = timeout(SOON, write(&env.pair.target, 1, 1));
    written.await.context("it hangs")?
}

#[tokio::test(flavor = "multi_thread")]
async fn s7_killed_while_commits_wait_the_next_engine_knows_what_was_set_before() -> Result<()> {
    let Some(mut env) = durable().await? else {
        return Ok(());
    };
    env.kill().await?;
    env.stream_gate.sever();
    env.take_over().await?;
    let written = timeout(SOON, write(&env.pair.target, 1, 1));
    written.await.context("it hangs")??;
    ensure!(!is_set(&env.pair.target).await?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn s7_without_the_right_the_option_blocks_by_name() -> Result<()> {
    let mut env = TestEnvironment::without_superuser(Settings::default()).await?;
    env.want_durable_way_back();
    env.create("m", &[]).await?;
    let report = env.engine().preflight("m").await?;
    let mut blocking = report.blocking();
    let found = blocking.find(|found| found.id == "S7");
    let found = found.context("it does not block")?;
    ensure!(found.message.contains("synchronous_standby_names on green"));
    Ok(())
}
