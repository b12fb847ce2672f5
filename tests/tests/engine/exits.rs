//! Every state of a bake has an exit, whichever server is down, and whoever moved what by hand.

use anyhow::{Context, Result, ensure};
use pointsman_cutover::{
    EngineError, Settings, Status,
    machine::{Direction, State, Step},
};
use pointsman_lab::postgres::PostgresServer;
use tokio::time::timeout;

use super::{
    crashes::goes_back,
    servers::{SOON, eventually, nothing_is_left, rows, write},
    support::{TestEnvironment, is_in, is_whole, story},
};

const TARGET_IS_DOWN: &str = "open-source-target-is-down";

/// A bake with a row that the source has, and whose target is then killed.
async fn killed_in_the_bake(env: &TestEnvironment) -> Result<Status> {
    env.switched().await?;
    write(&env.pair.target, 1, 1).await?;
    arrives(&env.pair.source, 1).await?;
    env.pair.target.crash().await?;
    env.until("the target is seen to be silent", is_silent)
        .await
}

pub(super) fn is_silent(status: &Status) -> bool {
    status.headline.starts_with("green does not answer since ")
}

pub(super) fn as_before(status: &Status) -> bool {
    !is_silent(status) && status.reverse_stream() == "proven" && is_whole(status)
}

async fn arrives(source: &PostgresServer, rows_there: i64) -> Result<()> {
    eventually("the row is on the source", async || {
        Ok(rows(source, 1).await.is_ok_and(|rows| rows == rows_there))
    })
    .await
}

/// The request is refused, within a bounded time, and this is why.
pub(super) async fn refused<T>(
    outcome: impl Future<Output = Result<T, EngineError>>,
    why: &str,
) -> Result<()> {
    match timeout(SOON, outcome).await.context("it hangs")? {
        Err(EngineError::Refused(message)) => {
            ensure!(message.contains(why), "{message}");
            Ok(())
        }
        Err(error) => Err(error.into()),
        Ok(_done) => anyhow::bail!("not refused: {why}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s18_a_source_that_opens_without_its_target_gives_no_number_twice() -> Result<()> {
    let env = TestEnvironment::new(Settings::default()).await?;
    env.switched().await?;
    for number in 1..=3 {
        write(&env.pair.target, 1, number).await?;
    }
    arrives(&env.pair.source, 3).await?;
    env.pair.target.crash().await?;
    env.until("the target is seen to be silent", is_silent)
        .await?;
    let opening = env
        .source_gate
        .hold_at("ALTER DATABASE \"orders\" ALLOW_CONNECTIONS true CONNECTION LIMIT -1");
    let opened = env.begin_resolve(TARGET_IS_DOWN);
    opening.within(SOON).await?;
    let source = env.pair.source.client("orders").await?;
    let behind = "SELECT last_value >= (SELECT max(id) FROM writes) FROM writes_id_seq";
    ensure!(source.query_one(behind, &[]).await?.get::<_, bool>(0));
    drop(source);
    env.source_gate.release();
    is_in(&timeout(SOON, opened).await???, &State::RolledBack)?;
    write(&env.pair.source, 1, 4).await
}

#[tokio::test(flavor = "multi_thread")]
async fn s25_a_target_that_is_down_for_good_in_the_bake_leaves_the_source_to_be_opened()
-> Result<()> {
    let env = TestEnvironment::new(Settings::default()).await?;
    let source = env.pair.source.client_as("app", "orders").await?;
    let serial = "CREATE TABLE counted (id serial PRIMARY KEY)";
    source.batch_execute(serial).await?;
    env.switched().await?;
    let target = env.pair.target.client_as("app", "orders").await?;
    let counts = "INSERT INTO counted SELECT nextval('counted_id_seq') FROM generate_series(1, 50)";
    target.batch_execute(counts).await?;
    write(&env.pair.target, 1, 1).await?;
    arrives(&env.pair.source, 1).await?;
    env.pair.target.crash().await?;
    let status = env
        .until("the target is seen to be silent", is_silent)
        .await?;
    let way_back = &status.way_back;
    ensure!(
        !way_back.lossless && way_back.writes_at_risk.is_none(),
        "{way_back:?}"
    );
    for said in ["blue last confirmed ", "cannot be counted"] {
        ensure!(way_back.message.contains(said), "{way_back:?}");
    }
    let offered = |status: &Status| {
        let mut choices = status.choices.iter();
        choices.any(|choice| choice.name.as_str() == TARGET_IS_DOWN)
    };
    ensure!(offered(&status), "{:?}", status.choices);
    refused(env.engine().rollback("m", false), "green").await?;
    refused(env.engine().rollback("m", true), "green").await?;
    refused(env.engine().complete("m", false), "green").await?;

    let opening = timeout(SOON, env.engine().resolve("m", TARGET_IS_DOWN));
    let status = opening.await.context("it hangs")??;
    println!("{}", story(&status));
    is_in(&status, &State::RolledBack)?;
    ensure!(
        status.headline.contains("keep it down"),
        "{}",
        status.headline
    );
    ensure!(env.routes().await?.0 == "served by blue");
    nothing_is_left(&env.pair.source).await?;
    ensure!(rows(&env.pair.source, 1).await? == 1);
    write(&env.pair.source, 1, 2).await?;
    let source = env.pair.source.client_as("app", "orders").await?;
    source
        .batch_execute("INSERT INTO counted DEFAULT VALUES")
        .await?;

    // Nothing of it comes after the word.
    env.pair.target.start().await?;
    write(&env.pair.target, 1, 100).await?;
    write(&env.pair.source, 1, 3).await?;
    ensure!(env.routes().await?.0 == "served by blue");
    ensure!(rows(&env.pair.source, 1).await? == 3);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn s25_a_target_that_comes_back_finds_everything_as_before() -> Result<()> {
    let env = TestEnvironment::new(Settings::default()).await?;
    killed_in_the_bake(&env).await?;
    env.pair.target.start().await?;
    let status = env.until("all is as before", as_before).await?;
    ensure!(status.choices.is_empty(), "{:?}", status.choices);
    write(&env.pair.target, 1, 2).await?;
    goes_back(&env, 2).await
}

#[tokio::test(flavor = "multi_thread")]
async fn s25_a_target_that_answers_is_not_down_whatever_is_asserted() -> Result<()> {
    let env = TestEnvironment::new(Settings::default()).await?;
    env.switched().await?;
    let why = "green answers, so it is not down, and blue stays closed";
    refused(env.engine().resolve("m", TARGET_IS_DOWN), why).await?;
    ensure!(env.routes().await?.0 == "served by green");
    ensure!(write(&env.pair.source, 1, 1).await.is_err());
    write(&env.pair.target, 1, 1).await?;
    ensure!(is_whole(&env.proven().await?));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn s25_a_rollback_that_waits_for_a_target_that_is_killed_is_given_up() -> Result<()> {
    let env = TestEnvironment::new(Settings::default()).await?;
    env.started().await?;
    env.stream_gate.sever();
    env.engine().switch("m").await?;
    let rollback = env.begin_rollback(false);
    env.until("the rollback waits", |status| {
        status.migration.state().is_moving()
    })
    .await?;
    env.pair.target.crash().await?;
    let refused = timeout(SOON, rollback).await.context("it hangs")??;
    let refused = refused.err().context("it went back")?.to_string();
    ensure!(refused.contains("green does not answer"), "{refused}");
    let status = env.engine().status("m")?;
    ensure!(status.reverse_stream() == "arming" && is_silent(&status));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn s7_no_alarm_goes_back_while_the_target_does_not_answer() -> Result<()> {
    let env = TestEnvironment::new(Settings::default()).await?;
    env.switched().await?;
    env.pair.target.crash().await?;
    env.ring();
    let status = env
        .until("the alarm is heard", |status| {
            let mut entries = status.entries.iter();
            entries.any(|entry| entry.message.starts_with("alarm of bell"))
        })
        .await?;
    let mut said = status.entries.iter();
    ensure!(
        said.any(|entry| entry
            .message
            .contains("not going back by itself as long as")),
        "{}",
        story(&status)
    );
    ensure!(
        status.migration.machine.switches() == 1,
        "{}",
        story(&status)
    );
    // A rollback that was undone would make the next alarm wait.
    env.pair.target.start().await?;
    env.until("all is as before", as_before).await?;
    env.ring();
    let gone_back = |status: &Status| status.migration.state() == State::RolledBack;
    env.until("the alarm goes back", gone_back).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn s25_the_server_that_the_routes_point_at_is_not_fenced() -> Result<()> {
    let env = TestEnvironment::new(Settings::default()).await?;
    env.switched().await?;
    env.send_writers_to("blue").await?;
    open_by_hand(&env.pair.source).await?;
    write(&env.pair.source, 1, 1).await?;
    // The stream ends, and would be armed again.
    env.stream_gate.sever();
    let parked = State::NeedsOperator {
        direction: Direction::Reverse,
        step: Step::Prepare,
    };
    let status = env
        .until("the migration is parked", |status| {
            status.migration.state() == parked
        })
        .await?;
    ensure!(
        status.headline.contains("orders is served by blue"),
        "{}",
        status.headline
    );
    write(&env.pair.source, 1, 2).await?;
    // Also not by an operator who tries again.
    let status = env.engine().resolve("m", "retry").await?;
    ensure!(matches!(
        status.migration.state(),
        State::NeedsOperator { .. }
    ));
    write(&env.pair.source, 1, 3).await?;

    env.stream_gate.restore();
    env.send_writers_to("green").await?;
    let status = env.engine().resolve("m", "retry").await?;
    ensure!(matches!(status.migration.state(), State::Baking { .. }));
    eventually("the source is closed again", async || {
        Ok(write(&env.pair.source, 1, 4).await.is_err())
    })
    .await?;
    write(&env.pair.target, 1, 5).await
}

/// As somebody does who knows nothing of the migration.
async fn open_by_hand(server: &PostgresServer) -> Result<()> {
    let postgres = server.client("postgres").await?;
    for datname in ["postgres", "orders", "billing"] {
        let open = format!("ALTER DATABASE {datname} ALLOW_CONNECTIONS true CONNECTION LIMIT -1");
        postgres.batch_execute(&open).await?;
    }
    let rules = "COPY (SELECT 'host all all 127.0.0.1/32 trust') TO PROGRAM \
                 'cat > pg_hba.conf'; SELECT pg_reload_conf()";
    postgres.batch_execute(rules).await?;
    eventually("the rules are in force", async || {
        Ok(server.client_as("app", "orders").await.is_ok())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn s25_a_lost_slot_is_named_and_what_was_accepted_goes_back_without_it() -> Result<()> {
    let env = TestEnvironment::new(Settings::default()).await?;
    env.switched().await?;
    env.stream_gate.sever();
    write(&env.pair.target, 1, 1).await?;
    lose(&env.pair.target, "orders").await?;
    env.stream_gate.restore();
    let named = |status: &Status| {
        let said = "the reverse slot of database orders is lost";
        status.reverse_stream() == "broken" && status.way_back.message.contains(said)
    };
    let status = env.until("the lost slot is named", named).await?;
    ensure!(!status.way_back.lossless, "{:?}", status.way_back);
    let refused = env.engine().rollback("m", false).await;
    ensure!(
        matches!(refused, Err(EngineError::Refused(_))),
        "{refused:?}"
    );
    write(&env.pair.target, 1, 2).await?;
    let status = env.engine().rollback("m", true).await?;
    println!("{}", story(&status));
    is_in(&status, &State::RolledBack)?;
    nothing_is_left(&env.pair.source).await?;
    write(&env.pair.source, 1, 3).await
}

/// The server removes WAL that the slot of `database` needs.
async fn lose(server: &PostgresServer, database: &str) -> Result<()> {
    let postgres = server.client("postgres").await?;
    for set in [
        "ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'",
        "ALTER SYSTEM SET wal_keep_size = 0",
        "SELECT pg_reload_conf()",
    ] {
        postgres.batch_execute(set).await?;
    }
    let status = "SELECT wal_status FROM pg_replication_slots WHERE database = $1";
    eventually("the slot is lost", async || {
        postgres
            .batch_execute("SELECT pg_logical_emit_message(true, 'fill', 'x'), pg_switch_wal()")
            .await?;
        postgres.batch_execute("CHECKPOINT").await?;
        let row = postgres.query_one(status, &[&database]).await?;
        Ok(row.get::<_, &str>(0) == "lost")
    })
    .await
}
