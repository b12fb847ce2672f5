//! Servers whose WAL cannot be read: every proof stands by transaction ids.

use std::path::Path;

use anyhow::{Result, ensure};
use pointsman_cutover::{
    EngineError, Settings, Status,
    machine::{Side, State},
    ports::ProofMethod,
};
use pointsman_lab::{
    gate::{Caught, Gate},
    postgres::{Hosting, PostgresServer},
};
use tokio_postgres::error::SqlState;

use super::{
    servers::{SOON, eventually, is_standby, rows, write},
    support::{TestEnvironment, is_in, is_whole, story},
};

/// Checks ask about the function as well.
const PROMOTION: &str = "THEN pg_promote(false)";
const PROOF: &str = "pg_logical_emit_message(true, 'pointsman.proof'";
const MARKER: &str = "pg_logical_emit_message(true, 'pointsman.fence'";

/// How many new markers a proof is given. One more stranger, and the switch is undone.
const NEW_MARKERS: usize = 3;

/// Migration `m`, started, on servers that have no `pg_walinspect` any more, and on which
/// nobody's id is accepted.
async fn started() -> Result<TestEnvironment> {
    let env = TestEnvironment::new(Settings::default()).await?;
    if env.pair.source.hosting() == Hosting::Managed {
        statistics_are_collected(&env).await?;
    }
    env.started().await?;
    wal_cannot_be_read(&env).await?;
    Ok(env)
}

/// From the next switch on, proofs stand by transaction ids.
pub(super) async fn wal_cannot_be_read(env: &TestEnvironment) -> Result<()> {
    let source = env.pair.source.client("postgres").await?;
    source
        .batch_execute("DROP EXTENSION IF EXISTS pg_walinspect")
        .await?;
    let target = env.pair.target.client("postgres").await?;
    let there = "SELECT count(*) FROM pg_extension WHERE extname = 'pg_walinspect'";
    eventually("the extension is gone from the target", async || {
        Ok(target.query_one(there, &[]).await?.get::<_, i64>(0) == 0)
    })
    .await
}

/// The cloud's role is silent, and who took an id cannot be told from an ANALYZE.
async fn statistics_are_collected(env: &TestEnvironment) -> Result<()> {
    let cloud = env.pair.source.client("rdsadmin").await?;
    let silent = "ALTER TABLE heartbeat RENAME TO silent";
    cloud.batch_execute(silent).await?;
    for server in [&env.pair.source, &env.pair.target] {
        let cloud = server.client("rdsadmin").await?;
        cloud
            .batch_execute("ALTER SYSTEM SET autovacuum = on")
            .await?;
        cloud.batch_execute("SELECT pg_reload_conf()").await?;
    }
    Ok(())
}

/// A transaction of somebody who passes every fence. Returns its id. Whom the fence ends while it
/// looks for late sessions comes again.
async fn stranger(server: &PostgresServer) -> Result<String> {
    loop {
        match take_an_id(server).await {
            Err(error) if was_ended(&error) => {}
            taken => return taken,
        }
    }
}

fn was_ended(error: &anyhow::Error) -> bool {
    let said = error.downcast_ref::<tokio_postgres::Error>();
    said.is_some_and(|said| said.is_closed() || said.code() == Some(&SqlState::ADMIN_SHUTDOWN))
}

async fn take_an_id(server: &PostgresServer) -> Result<String> {
    let session = server.client("postgres").await?;
    let sql = "SELECT pg_current_xact_id()::text, pg_backend_pid()";
    let row = session.query_one(sql, &[]).await?;
    let process = format!("/proc/{}", row.get::<_, i32>(1));
    drop(session);
    // A session that looked would be in the way of the fence itself.
    let left = async || Ok(!Path::new(&process).exists());
    eventually("the stranger has left", left).await?;
    Ok(row.get(0))
}

/// Switches, with a stranger's transaction on `server` while `gate` holds what it caught.
async fn with_stranger(
    env: &TestEnvironment,
    server: &PostgresServer,
    gate: &Gate,
    caught: Caught,
) -> Result<(String, Status)> {
    let switch = env.begin_switch();
    caught.within(SOON).await?;
    let xid = stranger(server).await?;
    gate.release();
    Ok((xid, switch.await??))
}

/// Lets a stranger take an id before each of `proofs` proofs behind `gate`. Returns the ids.
async fn strangers(
    server: &PostgresServer,
    gate: &Gate,
    first: Caught,
    proofs: usize,
) -> Result<Vec<String>> {
    let mut xids = Vec::new();
    let mut caught = first;
    loop {
        caught.within(SOON).await?;
        xids.push(stranger(server).await?);
        if xids.len() == proofs {
            gate.release();
            return Ok(xids);
        }
        // The proof goes through, and the answer to the marker that follows waits.
        let marked = gate.hold_answer_to(MARKER);
        marked.within(SOON).await?;
        caught = gate.hold_at(PROOF);
    }
}

/// New markers of the last proof that succeeded.
fn new_markers(status: &Status) -> Option<u64> {
    let entries = status.entries.iter().rev();
    let mut counted = entries.filter_map(|entry| entry.evidence["new_markers"].as_u64());
    counted.next()
}

fn stands_by_ids(status: &Status) -> Result<()> {
    for side in [Side::Source, Side::Target] {
        let by = status.migration.facts.proved_by(side);
        ensure!(
            by == Some(ProofMethod::TransactionIds),
            "{side:?} by {by:?}\n{}",
            story(status)
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_moves_forward_and_back_by_transaction_ids() -> Result<()> {
    let env = started().await?;
    write(&env.pair.source, 1, 1).await?;
    env.engine().switch("m").await?;
    let status = env.proven().await?;
    println!("{}", story(&status));
    stands_by_ids(&status)?;
    ensure!(
        is_whole(&status) && !status.way_back.lossless,
        "{:?}",
        status.way_back
    );
    write(&env.pair.target, 1, 2).await?;
    let status = env.engine().rollback("m", false).await?;
    is_in(&status, &State::RolledBack)?;
    ensure!(rows(&env.pair.source, 1).await? == 2);
    write(&env.pair.source, 1, 3).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strangers_id_before_the_intent_is_looked_at_again() -> Result<()> {
    let env = started().await?;
    let gate = &env.source_gate;
    let (xid, status) = with_stranger(&env, &env.pair.source, gate, gate.hold_at(PROOF)).await?;
    ensure!(
        matches!(status.migration.state(), State::Baking { .. }),
        "{}",
        story(&status)
    );
    let proof = status
        .entries
        .iter()
        .find(|entry| entry.evidence["new_markers"] == 1);
    ensure!(proof.is_some(), "{xid} was not seen\n{}", story(&status));
    ensure!(status.migration.facts.not_proven().is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn three_strangers_before_the_intent_are_looked_at_again_and_a_fourth_undoes_the_switch()
-> Result<()> {
    let env = started().await?;
    let (source, gate) = (&env.pair.source, &env.source_gate);
    for (ids, undone) in [(NEW_MARKERS + 1, true), (NEW_MARKERS, false)] {
        let first = gate.hold_at(PROOF);
        let switch = env.begin_switch();
        let xids = strangers(source, gate, first, ids).await?;
        let status = switch.await??;
        if undone {
            is_in(&status, &State::Undone)?;
            let last = xids.last().map_or("", String::as_str);
            ensure!(status.headline.contains(last), "{}", story(&status));
            ensure!(is_standby(&env.pair.target).await?);
            write(source, 1, 1).await?;
        } else {
            let switched = matches!(status.migration.state(), State::Baking { .. });
            ensure!(switched, "{}", story(&status));
            ensure!(new_markers(&status) == Some(3), "{}", story(&status));
        }
    }
    let status = env.proven().await?;
    ensure!(
        is_whole(&status) && !status.way_back.lossless,
        "{:?}",
        status.way_back
    );
    ensure!(rows(&env.pair.target, 1).await? == 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn three_strangers_on_the_target_are_looked_at_again_and_a_fourth_undoes_the_rollback()
-> Result<()> {
    let env = started().await?;
    env.engine().switch("m").await?;
    env.proven().await?;
    let (target, gate) = (&env.pair.target, &env.target_gate);
    for (ids, undone) in [(NEW_MARKERS + 1, true), (NEW_MARKERS, false)] {
        write(target, 1, i64::try_from(ids)?).await?;
        let first = gate.hold_at(PROOF);
        let rollback = env.begin_rollback(false);
        let xids = match strangers(target, gate, first, ids).await {
            Ok(xids) => xids,
            Err(error) => {
                let why = rollback.await?.map(|status| story(&status));
                return Err(error.context(format!("{why:?}")));
            }
        };
        let outcome = rollback.await?;
        if undone {
            let Err(refusal) = outcome else {
                anyhow::bail!("it went back: {}", story(&outcome?));
            };
            let last = xids.last().map_or("", String::as_str);
            ensure!(refusal.to_string().contains(last), "{refusal:#}");
            env.proven().await?;
        } else {
            let status = outcome?;
            is_in(&status, &State::RolledBack)?;
            ensure!(new_markers(&status) == Some(3), "{}", story(&status));
        }
    }
    ensure!(rows(&env.pair.source, 1).await? == 2);
    write(&env.pair.source, 1, 9).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strangers_id_after_the_promotion_leaves_the_way_back_unproven() -> Result<()> {
    let env = started().await?;
    let gate = &env.target_gate;
    let making_slots = gate.hold_at("pointsman_rb_1");
    let (xid, _) = with_stranger(&env, &env.pair.target, gate, making_slots).await?;
    let status = env.proven().await?;
    println!("{}", story(&status));
    stands_by_ids(&status)?;
    let way_back = &status.way_back;
    ensure!(!way_back.lossless && way_back.writes_at_risk.is_none());
    ensure!(way_back.message.contains(&xid), "{way_back:?}");

    write(&env.pair.target, 1, 1).await?;
    let Err(EngineError::Refused(refusal)) = env.engine().rollback("m", false).await else {
        anyhow::bail!("going back was not refused");
    };
    for part in [xid.as_str(), "not proven", "--accept-loss"] {
        ensure!(refusal.contains(part), "{part}: {refusal}");
    }
    let status = env.engine().rollback("m", true).await?;
    is_in(&status, &State::RolledBack)?;
    ensure!(rows(&env.pair.source, 1).await? == 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strangers_id_that_a_successor_finds_is_no_reason_to_stop() -> Result<()> {
    let mut env = started().await?;
    let caught = env.target_gate.hold_at(PROMOTION);
    let _switch = env.begin_switch();
    env.kill_at(caught).await?;
    env.lose_requests_to_target().await?;
    let xid = stranger(&env.pair.source).await?;
    env.take_over().await?;
    let status = env.proven().await?;
    // The target has replayed it, and it is on record by server.
    let found = status.migration.facts.not_proven();
    let servers: Vec<_> = found.iter().map(|found| found.server.as_str()).collect();
    ensure!(servers == ["blue", "green"], "{found:?}");
    ensure!(!status.way_back.lossless);
    ensure!(status.way_back.message.contains(&xid));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_opened_the_source_while_nobody_drove_stops_the_successor() -> Result<()> {
    let mut env = started().await?;
    let caught = env.target_gate.hold_at(PROMOTION);
    let _switch = env.begin_switch();
    env.kill_at(caught).await?;
    env.lose_requests_to_target().await?;
    let superuser = env.pair.source.client("postgres").await?;
    for allowed in ["true", "false"] {
        let sql = format!("ALTER DATABASE orders ALLOW_CONNECTIONS {allowed}");
        superuser.batch_execute(&sql).await?;
    }
    drop(superuser);
    env.take_over().await?;
    let status = env.settled().await?;
    ensure!(
        matches!(status.migration.state(), State::NeedsOperator { .. }),
        "{}",
        story(&status)
    );
    ensure!(is_standby(&env.pair.target).await?);
    Ok(())
}
