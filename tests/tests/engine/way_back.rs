//! The way back: when it waits, what it refuses, what it gives up.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pointsman_cutover::{
    EngineError, Settings, Status, WayBackKind,
    machine::{State, StreamState},
    ports::Budgets,
};
use pointsman_lab::postgres::Hosting;
use tokio::time::sleep;

use super::{
    servers::{SOON, eventually, nothing_is_left, rows, write},
    support::{TestEnvironment, is_in, is_whole, story},
};

const DATABASES: [&str; 2] = ["orders", "billing"];

/// Loses the reverse stream of `databases` for good: its slots on the target are gone.
async fn lose_slots(env: &TestEnvironment, databases: &[&str]) -> Result<()> {
    let target = env.pair.target.client("postgres").await?;
    let end = "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots \
               WHERE database = $1 AND active_pid IS NOT NULL";
    let drop = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots \
                WHERE database = $1 AND active_pid IS NULL";
    let left = "SELECT count(*) FROM pg_replication_slots WHERE database = $1";
    for database in databases {
        let gone = async || {
            target.execute(end, &[database]).await?;
            // Its subscriber may have come back in between.
            target.execute(drop, &[database]).await.ok();
            Ok(target.query_one(left, &[database]).await?.get::<_, i64>(0) == 0)
        };
        eventually("the slot is gone", gone).await?;
    }
    Ok(())
}

async fn broken(env: &TestEnvironment) -> Result<Status> {
    env.until("the loss of the reverse stream is noticed", |status| {
        status.reverse_stream() == "broken"
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_moves_forward_and_back() -> Result<()> {
    let env = TestEnvironment::new(Settings::default()).await?;
    let status = env.switched().await?;
    println!("{}", story(&status));
    ensure!(is_whole(&status), "{:?}", status.way_back);
    write(&env.pair.target, 1, 1).await?;
    let status = env.engine().rollback("m", false).await?;
    is_in(&status, &State::RolledBack)?;
    ensure!(rows(&env.pair.source, 1).await? == 1);
    nothing_is_left(&env.pair.source).await?;
    write(&env.pair.source, 1, 2).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_that_would_lose_writes_is_refused_with_their_number() -> Result<()> {
    let env = TestEnvironment::new(Settings::default()).await?;
    env.switched().await?;
    write(&env.pair.target, 1, 1).await?;
    lose_slots(&env, &DATABASES).await?;
    for number in 2..=4 {
        write(&env.pair.target, 1, number).await?;
    }
    let status = broken(&env).await?;
    println!("{}", story(&status));
    ensure!(!status.way_back.lossless);

    refused_with(&env, 4).await?;
    write(&env.pair.target, 1, 5).await?;

    let status = env.engine().rollback("m", true).await?;
    is_in(&status, &State::RolledBack)?;
    // It has exactly the rows that it had before it was fenced.
    ensure!((0..=1).contains(&rows(&env.pair.source, 1).await?));
    write(&env.pair.source, 1, 6).await
}

/// The rollback that was asked for waits for the reverse stream.
async fn waits(env: &TestEnvironment) -> Result<Status> {
    env.until("the rollback waits", |status| {
        matches!(
            status.migration.state(),
            State::Baking {
                stream: StreamState::ArmingForRollback
            }
        )
    })
    .await
}

/// A rollback is refused, and the refusal says how many transactions it would have lost.
async fn refused_with(env: &TestEnvironment, lost: u64) -> Result<()> {
    let refusal = match env.engine().rollback("m", false).await {
        Err(EngineError::Refused(message)) => message,
        Err(error) => return Err(error.into()),
        Ok(status) => anyhow::bail!("not refused:\n{}", story(&status)),
    };
    let message = format!("going back now would lose {lost} committed transactions");
    let status = env.engine().status("m")?;
    ensure!(refusal.contains(&message), "{refusal}\n{}", story(&status));
    ensure!(matches!(status.migration.state(), State::Baking { .. }));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_database_without_its_stream_is_enough_to_refuse() -> Result<()> {
    let env = TestEnvironment::new(Settings::default()).await?;
    env.switched().await?;
    lose_slots(&env, &["orders"]).await?;
    write(&env.pair.target, 1, 1).await?;
    write(&env.pair.target, 1, 2).await?;
    // Asked at once: the loss may not have been noticed yet.
    refused_with(&env, 2).await?;
    ensure!(rows(&env.pair.target, 1).await? == 2);
    write(&env.pair.target, 1, 3).await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_stream_and_without_writes_going_back_loses_nothing() -> Result<()> {
    let env = TestEnvironment::new(Settings::default()).await?;
    write(&env.pair.source, 1, 1).await?;
    env.switched().await?;
    lose_slots(&env, &DATABASES).await?;
    broken(&env).await?;
    let status = env.engine().rollback("m", false).await?;
    is_in(&status, &State::RolledBack)?;
    ensure!(rows(&env.pair.source, 1).await? == 1);
    write(&env.pair.source, 1, 2).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_before_the_stream_is_proven_lets_the_target_serve_until_it_is() -> Result<()> {
    let env = TestEnvironment::new(Settings::default()).await?;
    env.started().await?;
    env.stream_gate.sever();
    env.engine().switch("m").await?;
    let rollback = env.begin_rollback(false);
    waits(&env).await?;
    write(&env.pair.target, 1, 1).await?;
    ensure!(env.routes().await?.0 == "served by green");
    env.stream_gate.restore();
    let status = rollback.await??;
    is_in(&status, &State::RolledBack)?;
    let number = |step: &str| {
        let entry = status.entries.iter().rev().find(|entry| entry.step == step);
        entry
            .map(|entry| entry.number)
            .context("it is in the journal")
    };
    ensure!(number("arm")? < number("hold")?);
    ensure!(rows(&env.pair.source, 1).await? == 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_waits_for_a_stream_that_can_come_back() -> Result<()> {
    let env = TestEnvironment::new(Settings::default()).await?;
    env.switched().await?;
    env.stream_gate.sever();
    env.until("the interruption is noticed", |status| {
        status.reverse_stream() == "arming"
    })
    .await?;
    write(&env.pair.target, 1, 1).await?;
    let rollback = env.begin_rollback(false);
    waits(&env).await?;
    write(&env.pair.target, 1, 2).await?;
    ensure!(env.routes().await?.0 == "served by green");
    env.stream_gate.restore();
    let status = rollback.await??;
    is_in(&status, &State::RolledBack)?;
    ensure!(rows(&env.pair.source, 1).await? == 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn s22_a_rollback_that_waits_says_what_for_and_can_be_withdrawn() -> Result<()> {
    let env = TestEnvironment::new(Settings::default()).await?;
    env.started().await?;
    env.stream_gate.sever();
    env.engine().switch("m").await?;
    let rollback = env.begin_rollback(false);
    let said = |status: &Status| {
        let said = &status.headline;
        said.contains(", which has not succeeded yet (")
            && said.contains("a rollback waits for it until ")
    };
    env.until("it says what it waits for, and until when", said)
        .await?;
    let status = env.engine().withdraw_rollback("m").await?;
    ensure!(status.reverse_stream() == "arming", "{}", story(&status));
    refused_because(rollback.await?, "an operator withdrew the rollback")?;
    serves_on(&env).await
}

#[tokio::test(flavor = "multi_thread")]
async fn s22_a_rollback_waits_no_longer_than_it_may() -> Result<()> {
    let env = TestEnvironment::new(Settings {
        rollback_wait: Duration::from_secs(1),
        ..Settings::default()
    })
    .await?;
    env.started().await?;
    env.stream_gate.sever();
    env.engine().switch("m").await?;
    let rollback = env.begin_rollback(false);
    refused_because(rollback.await?, "the rollback was given up: it waited 1s")?;
    serves_on(&env).await
}

#[tokio::test(flavor = "multi_thread")]
async fn s22_a_request_is_heard_while_the_stream_is_being_made() -> Result<()> {
    let env = TestEnvironment::new(Settings::default()).await?;
    env.started().await?;
    let being_made = env.source_gate.hold_at("own.rolcreaterole");
    env.engine().switch("m").await?;
    being_made.within(SOON).await?;
    let rollback = env.begin_rollback(false);
    waits(&env).await?;
    let status = env.engine().status("m")?;
    let failed = |message: &str| message.starts_with("not armed yet");
    ensure!(
        !status.entries.iter().any(|entry| failed(&entry.message)),
        "it was heard after the attempt had failed:\n{}",
        story(&status)
    );
    env.source_gate.release();
    is_in(&rollback.await??, &State::RolledBack)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_interrupted_when_a_rollback_is_asked_for_is_waited_for() -> Result<()> {
    let env = TestEnvironment::new(Settings::default()).await?;
    env.switched().await?;
    env.stream_gate.sever();
    write(&env.pair.target, 1, 1).await?;
    let rollback = env.begin_rollback(false);
    env.until("the rollback has begun", |status| {
        let mut entries = status.entries.iter();
        entries.any(|entry| entry.switch == 2 && entry.step == "prepare")
    })
    .await?;
    let looks = env.target_gate.hold_at("s.confirmed_flush_lsn");
    looks.within(SOON).await?;
    env.target_gate.release();
    let target = env.pair.target.client("postgres").await?;
    let looked = "SELECT FROM pg_stat_activity WHERE state = 'idle' \
                  AND query LIKE '%s.confirmed_flush_lsn%'";
    eventually("the stream was looked at", async || {
        Ok(!target.query(looked, &[]).await?.is_empty())
    })
    .await?;
    drop(target);
    env.stream_gate.restore();
    is_in(&rollback.await??, &State::RolledBack)?;
    ensure!(rows(&env.pair.source, 1).await? == 1);
    Ok(())
}

/// The source never gets a record that is on the disk in part, and nobody's commit brings the rest.
#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_does_not_wait_for_what_a_quiet_target_has_flushed_in_part() -> Result<()> {
    let env = TestEnvironment::new(Settings::default()).await?;
    env.switched().await?;
    env.pair.target.flush_half_a_record().await?;
    is_in(&env.begin_rollback(false).await??, &State::RolledBack)
}

/// A machine with other work to do can need longer for a session than writers may be held.
#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_gives_a_busy_source_time_for_a_session() -> Result<()> {
    let env = TestEnvironment::new(Settings::default()).await?;
    env.switched().await?;
    let logins = env.source_gate.hold();
    env.source_gate.cut();
    let rollback = env.begin_rollback(false);
    logins.within(SOON).await?;
    // Longer than it may take while somebody waits.
    sleep(Budgets::BY_SQL.attach + Duration::from_millis(500)).await;
    env.source_gate.release();
    is_in(&rollback.await??, &State::RolledBack)
}

fn refused_because(outcome: Result<Status>, cause: &str) -> Result<()> {
    let refused = outcome.err().context("it went back")?.to_string();
    ensure!(refused.contains(cause), "{refused}");
    Ok(())
}

/// A rollback that was given up does not happen when the stream comes back.
async fn serves_on(env: &TestEnvironment) -> Result<()> {
    env.stream_gate.restore();
    env.proven().await?;
    write(&env.pair.target, 1, 1).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_far_behind_is_waited_for_while_the_target_serves() -> Result<()> {
    let env = TestEnvironment::new(Settings {
        catch_up: Some(Duration::from_millis(500)),
        ..Settings::default()
    })
    .await?;
    env.switched().await?;
    // The apply worker waits for this lock, which outlives the session: the source is armed
    // and ends every session that is not the engine's.
    let lock = "BEGIN; LOCK TABLE writes IN EXCLUSIVE MODE; PREPARE TRANSACTION 'lag'";
    let source = env.pair.source.client("orders").await?;
    source.batch_execute(lock).await?;
    drop(source);
    let target = env.pair.target.client_as("app", "orders").await?;
    let much = "INSERT INTO writes (client, number) SELECT 1, n FROM generate_series(1, 20000) n";
    target.execute(much, &[]).await?;
    let refusal = match env.engine().rollback("m", false).await {
        Err(EngineError::Refused(message)) => message,
        other => anyhow::bail!("{other:?}"),
    };
    ensure!(refusal.contains("bytes of WAL behind"), "{refusal}");
    ensure!(env.routes().await?.0 == "served by green");
    write(&env.pair.target, 1, 20_001).await?;

    let unlocked = async || {
        let source = env.pair.source.client("orders").await?;
        Ok(source
            .batch_execute("ROLLBACK PREPARED 'lag'")
            .await
            .is_ok())
    };
    eventually("the lock is gone", unlocked).await?;
    let caught_up = async || {
        let rows = rows(&env.pair.source, 1).await;
        Ok(rows.is_ok_and(|rows| rows == 20_001))
    };
    eventually("the source has caught up", caught_up).await?;
    // The source confirms what it has applied a moment after the rows are there.
    let confirmed = async || Ok(is_whole(&env.engine().status("m")?));
    eventually("the way back is whole", confirmed).await?;
    let status = env.engine().rollback("m", false).await?;
    is_in(&status, &State::RolledBack)?;
    write(&env.pair.source, 1, 20_002).await
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_source_gone_for_good_an_operators_word_completes() -> Result<()> {
    let env = TestEnvironment::new(Settings::default()).await?;
    env.switched().await?;
    env.source_gate.sever();
    let refusal = env.engine().complete("m", false).await;
    ensure!(
        matches!(&refusal, Err(EngineError::Refused(message)) if message.contains("blue")),
        "{refusal:?}"
    );
    write(&env.pair.target, 1, 1).await?;
    let status = env.engine().complete("m", true).await?;
    println!("{}", story(&status));
    ensure!(status.migration.state() == State::Completed);
    let slots = "SELECT count(*) FROM pg_replication_slots";
    let target = env.pair.target.client("postgres").await?;
    ensure!(target.query_one(slots, &[]).await?.get::<_, i64>(0) == 0);
    // It keeps the fence that the switch gave it.
    ensure!(write(&env.pair.source, 1, 2).await.is_err());
    write(&env.pair.target, 1, 3).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_completed_migration_has_no_way_back_and_one_writer() -> Result<()> {
    let env = TestEnvironment::new(Settings::default()).await?;
    env.switched().await?;
    let status = env.engine().complete("m", false).await?;
    println!("{}", story(&status));
    is_in(&status, &State::Completed)?;
    ensure!(status.way_back.kind == WayBackKind::None && !status.way_back.lossless);
    write(&env.pair.target, 1, 1).await?;
    ensure!(write(&env.pair.source, 1, 2).await.is_err());
    let slots = "SELECT count(*) FROM pg_replication_slots";
    let target = env.pair.target.client("postgres").await?;
    ensure!(target.query_one(slots, &[]).await?.get::<_, i64>(0) == 0);
    let refusal = env.engine().rollback("m", false).await;
    ensure!(
        matches!(refusal, Err(EngineError::Refused(_))),
        "{refusal:?}"
    );
    Ok(())
}

/// A publication that names its tables, as a control role without superuser makes it by itself.
async fn names_its_tables(env: &TestEnvironment) -> Result<()> {
    if env.pair.source.hosting() == Hosting::Managed {
        return Ok(());
    }
    for database in DATABASES {
        let source = env.pair.source.client(database).await?;
        let make = "CREATE PUBLICATION pointsman_rb FOR TABLE writes";
        source.batch_execute(make).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_the_stream_leaves_out_ends_the_lossless_way_back() -> Result<()> {
    let env = TestEnvironment::new(Settings::default()).await?;
    names_its_tables(&env).await?;
    env.started().await?;
    // Made after the start, and listed before anybody is held.
    let source = env.pair.source.client_as("app", "orders").await?;
    source
        .batch_execute("CREATE TABLE early (id int PRIMARY KEY)")
        .await?;
    env.engine().switch("m").await?;
    let status = env.proven().await?;
    ensure!(is_whole(&status), "{}", story(&status));

    let target = env.pair.target.client_as("app", "orders").await?;
    target
        .batch_execute("INSERT INTO early VALUES (1); CREATE TABLE late (id int PRIMARY KEY)")
        .await?;
    let status = broken(&env).await?;
    let way_back = &status.way_back;
    ensure!(!way_back.lossless && way_back.writes_at_risk.is_none());
    ensure!(
        way_back
            .message
            .contains("does not carry orders.public.late"),
        "{way_back:?}"
    );
    match env.engine().rollback("m", false).await {
        Err(EngineError::Refused(message)) => {
            ensure!(message.contains("orders.public.late"), "{message}");
        }
        outcome => anyhow::bail!("not refused: {outcome:?}"),
    }

    // Without it the stream, which ran on, carries everything again.
    target.batch_execute("DROP TABLE late").await?;
    let status = env.proven().await?;
    ensure!(is_whole(&status), "{}", story(&status));
    let status = env.engine().rollback("m", false).await?;
    is_in(&status, &State::RolledBack)?;
    let source = env.pair.source.client("orders").await?;
    let early = source.query_one("SELECT count(*) FROM early", &[]).await?;
    ensure!(early.get::<_, i64>(0) == 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn s18_sequences_go_on_where_they_stood_and_one_that_is_lacking_is_named() -> Result<()> {
    let env = TestEnvironment::new(Settings::default()).await?;
    let source = env.pair.source.client_as("app", "orders").await?;
    source
        .batch_execute(
            "CREATE SEQUENCE restarted; ALTER SEQUENCE restarted RESTART WITH 1000; \
             CREATE SEQUENCE \"It's set\"; SELECT setval('\"It''s set\"', 500, false); \
             CREATE SEQUENCE called; SELECT nextval('called'); SELECT nextval('called')",
        )
        .await?;
    env.switched().await?;
    let target = env.pair.target.client_as("app", "orders").await?;
    target.batch_execute("CREATE SEQUENCE extra").await?;
    // A promotion skips what the source had logged ahead.
    let last = target.query_one("SELECT nextval('called')", &[]).await?;
    let last: i64 = last.get(0);
    let status = env.engine().rollback("m", false).await?;
    is_in(&status, &State::RolledBack)?;
    let mut prepared = status
        .entries
        .iter()
        .filter(|entry| entry.step == "prepare");
    ensure!(
        prepared.any(|entry| entry.message.contains("orders.public.extra")),
        "{}",
        story(&status)
    );
    let source = env.pair.source.client_as("app", "orders").await?;
    let next = "SELECT nextval('restarted'), nextval('\"It''s set\"'), nextval('called'), \
                to_regclass('extra') IS NULL";
    let next = source.query_one(next, &[]).await?;
    let next: (i64, i64, i64, bool) = (next.get(0), next.get(1), next.get(2), next.get(3));
    ensure!(next == (1000, 500, last + 1, true), "{next:?} after {last}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_made_while_the_rollback_begins_undoes_it() -> Result<()> {
    let env = TestEnvironment::new(Settings::default()).await?;
    names_its_tables(&env).await?;
    env.switched().await?;
    // The rollback has looked, and the target is closed behind this table.
    let caught = env.target_gate.hold_at("ALLOW_CONNECTIONS false");
    let rollback = env.begin_rollback(false);
    caught.within(SOON).await?;
    let target = env.pair.target.client_as("app", "orders").await?;
    target
        .batch_execute("CREATE TABLE late (id int PRIMARY KEY); INSERT INTO late VALUES (1)")
        .await?;
    env.target_gate.release();
    let refused = rollback.await?;
    ensure!(refused.is_err(), "{refused:?}");
    let status = env.settled().await?;
    ensure!(
        matches!(status.migration.state(), State::Baking { .. }),
        "{}",
        story(&status)
    );
    ensure!(
        story(&status).contains("orders.public.late"),
        "{}",
        story(&status)
    );
    write(&env.pair.target, 1, 1).await
}
