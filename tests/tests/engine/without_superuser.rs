//! Switches by a control role without superuser.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use pointsman_cutover::{EngineError, Settings, Status, machine::State};
use pointsman_lab::postgres::{PostgresServer, Session};
use tokio::time::{Instant, sleep, timeout};

use super::{
    servers::{SOON, rows, write},
    support::{TestEnvironment, is_in, is_whole, story},
};

/// `server_version_num`.
async fn version(env: &TestEnvironment) -> Result<i32> {
    let source = env.pair.source.client("postgres").await?;
    let sql = "SELECT current_setting('server_version_num')::int";
    Ok(source.query_one(sql, &[]).await?.get(0))
}

/// Whether the control role can make a subscription on these servers.
async fn can_subscribe(env: &TestEnvironment) -> Result<bool> {
    Ok(version(env).await? >= 160_000)
}

async fn switched(env: &TestEnvironment) -> Result<Status> {
    env.started().await?;
    let status = env.engine().switch("m").await?;
    ensure!(
        matches!(status.migration.state(), State::Baking { .. }),
        "{}",
        story(&status)
    );
    if can_subscribe(env).await? {
        return env.proven().await;
    }
    env.until("it is seen that there is no stream", |status| {
        status.reverse_stream() == "broken"
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_moves_forward_and_back_as_far_as_its_version_allows() -> Result<()> {
    let env = TestEnvironment::without_superuser(Settings::default()).await?;
    let status = switched(&env).await?;
    println!("{}", story(&status));
    // A superuser's session in a database that is to be closed would stop the rollback.
    let dba = env.pair.target.client("rdsadmin").await?;
    let slots = "SELECT count(*) FROM pg_replication_slots WHERE slot_type = 'logical'";
    let slots: i64 = dba.query_one(slots, &[]).await?.get(0);
    write(&env.pair.target, 1, 1).await?;
    if can_subscribe(&env).await? {
        ensure!(is_whole(&status), "{:?}", status.way_back);
        ensure!(slots == 2);
        let admitted = "rdsadmin can log in to the source, where nothing stops";
        ensure!(
            status.way_back.message.contains(admitted),
            "{:?}",
            status.way_back
        );
        let status = env.engine().rollback("m", false).await?;
        is_in(&status, &State::RolledBack)?;
        ensure!(rows(&env.pair.source, 1).await? == 1);
        return write(&env.pair.source, 1, 2).await;
    }
    let reason = "before PostgreSQL 16 only a superuser makes a subscription";
    ensure!(!status.way_back.lossless && status.way_back.message.contains(reason));
    ensure!(slots == 0, "a slot that nobody reads keeps WAL");
    let refusal = match env.engine().rollback("m", false).await {
        Err(EngineError::Refused(message)) => message,
        outcome => anyhow::bail!("not refused: {outcome:?}"),
    };
    // Transaction ids tell no number.
    let reads_wal = version(&env).await? >= 150_000;
    let price = match reads_wal {
        true => "would lose 1 committed transaction",
        false => "cannot be counted",
    };
    ensure!(refusal.contains(price), "{refusal}");
    write(&env.pair.target, 1, 2).await?;
    let status = env.engine().complete("m", false).await?;
    is_in(&status, &State::Completed)?;
    write(&env.pair.target, 1, 3).await
}

#[tokio::test(flavor = "multi_thread")]
async fn before_the_first_write_going_back_loses_nothing() -> Result<()> {
    let env = TestEnvironment::without_superuser(Settings::default()).await?;
    write(&env.pair.source, 1, 1).await?;
    let lists = "SELECT string_agg(format('%s %s', datname, \
                 coalesce(datacl, acldefault('d', datdba))), ' ' ORDER BY datname) FROM pg_database";
    let dba = env.pair.source.client("rdsadmin").await?;
    let before: String = dba.query_one(lists, &[]).await?.get(0);
    let status = switched(&env).await?;
    println!("{}", story(&status));
    let status = env.engine().rollback("m", false).await?;
    is_in(&status, &State::RolledBack)?;
    ensure!(rows(&env.pair.source, 1).await? == 1);
    ensure!(dba.query_one(lists, &[]).await?.get::<_, String>(0) == before);
    write(&env.pair.source, 1, 2).await
}

/// The control role may not end such a session, and from 16 on there is a stream to wait for.
#[tokio::test(flavor = "multi_thread")]
async fn a_superusers_session_on_the_source_is_named_and_a_rollback_does_not_wait_for_its_end()
-> Result<()> {
    let env = TestEnvironment::without_superuser_on(17, Settings::default()).await?;
    env.started().await?;
    // The source opens for the apply workers, and the stream is not made yet.
    env.stream_gate.sever();
    env.engine().switch("m").await?;
    env.until("the first try fails", |status| {
        status.headline.contains("has not succeeded yet")
    })
    .await?;
    let strange = open_for_superusers(&env.pair.source).await?;
    let pid = "SELECT pg_backend_pid()";
    let pid: i32 = strange.query_one(pid, &[]).await?.get(0);
    let named = format!("of rdsadmin in orders (pid {pid}, from a Unix socket)");
    let status = env
        .until("status names the session", |status| {
            status.headline.contains(&named)
        })
        .await?;
    println!("{}", story(&status));
    env.stream_gate.restore();

    let asked = env.engine().rollback("m", false);
    let refusal = match timeout(SOON * 2, asked).await.context("it waits")? {
        Err(EngineError::Refused(message)) => message,
        outcome => anyhow::bail!("not refused: {outcome:?}"),
    };
    ensure!(refusal.contains(&named), "{refusal}");
    ensure!(refusal.contains("pg_terminate_backend"), "{refusal}");
    write(&env.pair.target, 1, 1).await?;

    drop(strange);
    let status = env.proven().await?;
    ensure!(
        !status.headline.contains("rdsadmin in orders"),
        "{}",
        story(&status)
    );
    let status = env.engine().rollback("m", false).await?;
    is_in(&status, &State::RolledBack)?;
    ensure!(rows(&env.pair.source, 1).await? == 1);
    write(&env.pair.source, 1, 2).await
}

/// A superuser's session in `orders`, as soon as there can be one.
async fn open_for_superusers(source: &PostgresServer) -> Result<Session> {
    let deadline = Instant::now() + SOON;
    loop {
        match source.client_as("rdsadmin", "orders").await {
            Ok(session) => return Ok(session),
            Err(refused) if Instant::now() > deadline => return Err(refused),
            Err(_refused) => sleep(Duration::from_millis(2)).await,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_behind_the_fence_another_engine_opens_the_source_again() -> Result<()> {
    let mut env = TestEnvironment::without_superuser(Settings::default()).await?;
    env.started().await?;
    let marker = "pg_logical_emit_message(true, 'pointsman.fence'";
    let caught = env.source_gate.hold_at(marker);
    let _switch = env.begin_switch();
    env.kill_at(caught).await?;
    env.source_gate.release();
    env.take_over().await?;
    let status = env.settled().await?;
    is_in(&status, &State::Undone)?;
    write(&env.pair.source, 1, 1).await
}
