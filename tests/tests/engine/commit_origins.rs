//! A source whose WAL cannot be read, and which keeps the origin of each transaction.

use anyhow::{Result, ensure};
use pointsman_cutover::{
    EngineError, Settings, Status,
    machine::{LeftSource, State},
};
use pointsman_lab::postgres::{Hosting, PostgresServer};

use super::{
    bake_watch::{disturbed, names, refusal},
    servers::{SOON, eventually, rows, write},
    support::{TestEnvironment, is_in, story},
    transaction_ids::wal_cannot_be_read,
};

const ORIGINS: &str = "track_commit_timestamp = on\nautovacuum = off\n";
const AND_AUTOVACUUM: &str = "track_commit_timestamp = on\n";
const NO_ORIGINS: &str = "autovacuum = off\n";
const PROVED: &str = "proved by the origins of transaction ids";
const WRITES: &str =
    "INSERT INTO writes (id, client, number) OVERRIDING SYSTEM VALUE VALUES (-1, 9, 1)";

/// Migration `m`, switched, on servers with these settings. `None` where a cloud's role writes in its
/// own database all the time.
async fn switched(settings: &str) -> Result<Option<TestEnvironment>> {
    if Hosting::from_environment()? == Hosting::Managed {
        return Ok(None);
    }
    let env = TestEnvironment::on(settings, Settings::default()).await?;
    has_another_origin(&env).await?;
    env.started().await?;
    wal_cannot_be_read(&env).await?;
    env.engine().switch("m").await?;
    Ok(Some(env))
}

fn is_proven(status: &Status) -> bool {
    status.way_back.lossless && status.way_back.message.contains(PROVED)
}

/// Waits for a look that begins from now on.
async fn looked(env: &TestEnvironment) -> Result<Status> {
    let session = env.pair.source.client("postgres").await?;
    let end = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text";
    let end: u64 = session
        .query_one(end, &[])
        .await?
        .get::<_, String>(0)
        .parse()?;
    env.until("the engine has looked", |status| {
        let watch = status.migration.facts.source_watch();
        let ids = watch.and_then(|watch| watch.reach()?.ids.as_ref());
        ids.is_some_and(|ids| ids.next >= end)
    })
    .await
}

async fn writes_by_hand(server: &PostgresServer) -> Result<()> {
    let session = server.client("orders").await?;
    Ok(session.batch_execute(WRITES).await?)
}

async fn delivered(env: &TestEnvironment, number: i64) -> Result<()> {
    write(&env.pair.target, 1, number).await?;
    eventually("the stream delivers", async || {
        Ok(rows(&env.pair.source, 1).await? >= number)
    })
    .await
}

fn is_quiet(status: &Status) -> Result<()> {
    let left = status.migration.machine.left_source();
    ensure!(left == LeftSource::Quiet, "{}", story(status));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn s26_by_origins_a_way_back_is_lossless_until_somebody_else_writes() -> Result<()> {
    let Some(env) = switched(ORIGINS).await? else {
        return Ok(());
    };
    env.until("the way back is proven", is_proven).await?;
    for number in 1..4 {
        delivered(&env, number).await?;
    }
    let status = looked(&env).await?;
    ensure!(
        is_proven(&status),
        "{:?}\n{}",
        status.way_back,
        story(&status)
    );

    writes_by_hand(&env.pair.source).await?;
    let status = disturbed(&env).await?;
    names(&status, "others committed 1 transaction (")?;
    for refused in [
        refusal(env.engine().complete("m", false).await)?,
        refusal(env.engine().rollback("m", false).await)?,
    ] {
        ensure!(refused.contains("--accept-loss"), "{refused}");
    }
    let status = env.engine().rollback("m", true).await?;
    is_in(&status, &State::RolledBack)?;
    ensure!(rows(&env.pair.source, 1).await? == 3 && rows(&env.pair.source, 9).await? == 1);
    write(&env.pair.source, 1, 4).await
}

#[tokio::test(flavor = "multi_thread")]
async fn s26_by_origins_a_completion_right_after_a_strangers_write_takes_nothing_down() -> Result<()>
{
    let Some(env) = switched(ORIGINS).await? else {
        return Ok(());
    };
    env.until("the way back is proven", is_proven).await?;
    writes_by_hand(&env.pair.source).await?;
    // The watch may not have looked yet.
    let refused = refusal(env.engine().complete("m", false).await)?;
    ensure!(
        refused.contains("others committed 1 transaction ("),
        "{refused}"
    );
    delivered(&env, 1).await
}

/// What the engine does in the databases that move is its own, whoever looks.
#[tokio::test(flavor = "multi_thread")]
async fn s26_by_origins_what_a_former_leader_did_is_no_strangers() -> Result<()> {
    let Some(mut env) = switched(ORIGINS).await? else {
        return Ok(());
    };
    env.until("the way back is proven", is_proven).await?;
    // The sequences are set and the subscriptions are stopped.
    let caught = env.source_gate.hold_at("pg_conf_load_time");
    let _rollback = env.begin_rollback(false);
    caught.within(SOON).await?;
    env.kill().await?;
    env.source_gate.release();
    env.take_over().await?;
    env.until("the bake goes on", |status| {
        matches!(status.migration.state(), State::Baking { .. }) && is_proven(status)
    })
    .await?;
    delivered(&env, 1).await?;
    let status = looked(&env).await?;
    is_quiet(&status)?;
    let status = env.engine().rollback("m", false).await?;
    is_in(&status, &State::RolledBack)
}

#[tokio::test(flavor = "multi_thread")]
async fn s26_by_origins_a_prepared_transaction_counts_when_it_is_committed() -> Result<()> {
    let Some(env) = switched(ORIGINS).await? else {
        return Ok(());
    };
    env.until("the way back is proven", is_proven).await?;
    let session = env.pair.source.client("orders").await?;
    let prepares = format!("BEGIN; {WRITES}; PREPARE TRANSACTION 'p'");
    session.batch_execute(&prepares).await?;
    delivered(&env, 1).await?;
    is_quiet(&looked(&env).await?)?;
    session.batch_execute("COMMIT PREPARED 'p'").await?;
    drop(session);
    let status = disturbed(&env).await?;
    names(&status, "others committed 1 transaction (")
}

#[tokio::test(flavor = "multi_thread")]
async fn s26_a_prepared_transaction_is_named_and_no_breach_where_nothing_tells_who_wrote()
-> Result<()> {
    let Some(env) = switched(NO_ORIGINS).await? else {
        return Ok(());
    };
    env.proven().await?;
    let session = env.pair.source.client("orders").await?;
    let prepares = format!("BEGIN; {WRITES}; PREPARE TRANSACTION 'p'");
    session.batch_execute(&prepares).await?;
    drop(session);
    let named = |status: &Status| {
        let watch = status.migration.facts.source_watch();
        watch.is_some_and(|watch| {
            watch
                .to_string()
                .contains("prepared transaction p of postgres")
        })
    };
    let status = env.until("it is named", named).await?;
    let message = &status.way_back.message;
    let advice = "track_commit_timestamp";
    ensure!(
        !status.way_back.lossless && message.contains(advice),
        "{message}"
    );
    // A breach would want an operator's word.
    let status = env.engine().complete("m", false).await?;
    is_in(&status, &State::Completed)
}

/// An automatic ANALYZE takes an id, too.
#[tokio::test(flavor = "multi_thread")]
async fn s26_an_id_that_may_be_nobodys_write_is_named_and_leaves_it_unknown() -> Result<()> {
    let Some(env) = switched(AND_AUTOVACUUM).await? else {
        return Ok(());
    };
    env.proven().await?;
    let session = env.pair.source.client("orders").await?;
    let row = format!("WITH w AS ({WRITES} RETURNING 1) SELECT pg_current_xact_id()::text FROM w");
    let xid: String = session.query_one(&row, &[]).await?.get(0);
    drop(session);
    let named = |status: &Status| status.way_back.message.contains(&xid);
    let status = env.until("the id is named", named).await?;
    is_quiet(&status)?;
    let message = &status.way_back.message;
    ensure!(!status.way_back.lossless, "{message}");
    ensure!(
        message.contains("whether others wrote on blue is not known"),
        "{message}"
    );
    Ok(())
}

/// Making it is a write, so it is there before the switch.
async fn has_another_origin(env: &TestEnvironment) -> Result<()> {
    let session = env.pair.source.client("postgres").await?;
    let make = "SELECT pg_replication_origin_create('theirs')";
    Ok(session.batch_execute(make).await?)
}

/// A superuser writes under that origin, which is not the stream's.
async fn writes_under_another_origin(server: &PostgresServer) -> Result<()> {
    let session = server.client("orders").await?;
    for statement in [
        "SELECT pg_replication_origin_session_setup('theirs')",
        WRITES,
    ] {
        session.batch_execute(statement).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn s26_an_origin_that_is_not_the_streams_is_a_strangers() -> Result<()> {
    if Hosting::from_environment()? == Hosting::Managed {
        return Ok(());
    }
    let env = TestEnvironment::on(AND_AUTOVACUUM, Settings::default()).await?;
    has_another_origin(&env).await?;
    env.switched().await?;
    delivered(&env, 1).await?;
    writes_under_another_origin(&env.pair.source).await?;
    // By WAL records, or where those cannot be read, by the origins of ids.
    let status = disturbed(&env).await?;
    names(&status, "others committed ")
}

#[tokio::test(flavor = "multi_thread")]
async fn s26_by_origins_another_origin_is_a_strangers() -> Result<()> {
    let Some(env) = switched(AND_AUTOVACUUM).await? else {
        return Ok(());
    };
    env.proven().await?;
    delivered(&env, 1).await?;
    writes_under_another_origin(&env.pair.source).await?;
    let status = disturbed(&env).await?;
    names(&status, "others committed ")?;
    let outcome = env.engine().rollback("m", false).await;
    ensure!(
        matches!(outcome, Err(EngineError::Refused(_))),
        "{outcome:?}"
    );
    Ok(())
}
