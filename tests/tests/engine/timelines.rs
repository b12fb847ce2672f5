//! What a promotion proves.

use std::{path::Path, process::Command};

use anyhow::{Result, ensure};
use pointsman_cutover::{
    Settings,
    machine::{Direction, State, Step},
};
use pointsman_lab::postgres::{Hosting, PostgresServer};

use super::{
    servers::{SOON, eventually, is_standby, write},
    support::{TestEnvironment, is_in, story},
};

/// Copies the data folder of a stopped server, or puts a copy back.
fn copy(from: &Path, to: &Path) -> Result<()> {
    if to.exists() {
        std::fs::remove_dir_all(to)?;
    }
    let copied = Command::new("cp").arg("-a").args([from, to]).status()?;
    ensure!(copied.success(), "cp -a {from:?} {to:?}: {copied}");
    Ok(())
}

async fn position(server: &PostgresServer) -> Result<i64> {
    let sql = "SELECT (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() \
               ELSE pg_current_wal_lsn() END - '0/0'::pg_lsn)::int8";
    let session = server.client("postgres").await?;
    Ok(session.query_one(sql, &[]).await?.get(0))
}

/// A server that was restored from `old`, was promoted, wrote beyond `lsn`, was closed, and is a
/// standby again that hears of nobody.
async fn restored_elsewhere(server: &PostgresServer, old: &Path, lsn: i64) -> Result<()> {
    server.crash().await?;
    copy(old, server.data_folder())?;
    let settings = server.data_folder().join("postgresql.auto.conf");
    let mut text = std::fs::read_to_string(&settings)?;
    text.push_str("\nprimary_conninfo = ''\n");
    std::fs::write(&settings, text)?;
    server.start().await?;
    let session = server.client("postgres").await?;
    session.execute("SELECT pg_promote(true)", &[]).await?;
    while position(server).await? <= lsn {
        session
            .batch_execute("SELECT pg_logical_emit_message(true, 'far', ''), pg_switch_wal()")
            .await?;
    }
    for datname in ["template1", "orders", "billing"] {
        let close = format!("ALTER DATABASE {datname} ALLOW_CONNECTIONS false");
        session.batch_execute(&close).await?;
    }
    let standby = "COPY (SELECT '') TO PROGRAM 'cat > standby.signal'";
    session.batch_execute(standby).await?;
    drop(session);
    server.stop().await?;
    server.start().await?;
    ensure!(is_standby(server).await? && position(server).await? > lsn);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn s11_a_target_that_left_the_timeline_before_the_marker_is_opened_for_nobody() -> Result<()>
{
    if Hosting::from_environment()? == Hosting::Managed {
        // Its control role reads no history.
        return Ok(());
    }
    let mut env = TestEnvironment::new(Settings::default()).await?;
    env.started().await?;
    let old = env.folder().join("old");
    env.pair.target.stop().await?;
    copy(env.pair.target.data_folder(), &old)?;
    env.pair.target.start().await?;
    let source = env.pair.source.client("postgres").await?;
    let written = "SELECT (pg_logical_emit_message(true, 'lab', '') - '0/0'::pg_lsn)::int8";
    let written: i64 = source.query_one(written, &[]).await?.get(0);
    drop(source);
    eventually("the target follows", async || {
        Ok(position(&env.pair.target).await? >= written)
    })
    .await?;
    write(&env.pair.source, 1, 1).await?;
    let asked = env.target_gate.hold_at("THEN pg_promote");
    let _switch = env.begin_switch();
    asked.within(SOON).await?;
    env.kill().await?;
    let marker = position(&env.pair.source).await?;
    restored_elsewhere(&env.pair.target, &old, marker).await?;
    env.target_gate.cut();
    env.target_gate.release();
    env.take_over().await?;
    let status = env.settled().await?;
    println!("{}", story(&status));
    is_in(
        &status,
        &State::NeedsOperator {
            direction: Direction::Forward,
            step: Step::Promote,
        },
    )?;
    let said = "it lacks what blue acknowledged";
    ensure!(status.headline.contains(said), "{}", status.headline);
    ensure!(write(&env.pair.target, 1, 2).await.is_err());
    ensure!(!env.routes().await?.0.contains("green"));
    Ok(())
}
