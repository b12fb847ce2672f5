//! Servers that do not answer or do not follow: the switch ends where it began.

use std::{pin::pin, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use pointsman_cutover::{EngineError, Settings, Status, journal::EntryKind, machine::State};
use pointsman_lab::postgres::PostgresServer;

use super::{
    servers::{SOON, eventually, is_standby, rows, write},
    support::{TestEnvironment, is_in, story},
};

/// Begins a switch and stops it where the source is about to be closed; `failure` comes;
/// the switch goes on and is undone.
async fn undone_after(
    env: &TestEnvironment,
    failure: impl AsyncFnOnce(&TestEnvironment) -> Result<()>,
) -> Result<Status> {
    let caught = env.source_gate.hold_at("ALLOW_CONNECTIONS false");
    let switch = env.begin_switch();
    caught.within(SOON).await?;
    failure(env).await?;
    env.source_gate.release();
    let status = switch.await??;
    is_in(&status, &State::Undone)?;
    Ok(status)
}

/// When the undo ended, since the switch began.
fn undone_at(status: &Status) -> Result<Duration> {
    let undo = |entry: &&pointsman_cutover::journal::Entry| {
        entry.step == "undo" && entry.kind == EntryKind::Done
    };
    let entry = status.entries.iter().rev().find(undo);
    let entry = entry.context("the undo is in the journal")?;
    Ok(Duration::from_micros(entry.offset_us))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_completion_right_behind_a_crash_of_the_source_is_taken() -> Result<()> {
    let env = TestEnvironment::new(Settings::default()).await?;
    env.switched().await?;
    env.pair.source.crash().await?;
    env.pair.source.start().await?;
    let status = env.engine().complete("m", false).await?;
    is_in(&status, &State::Completed)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_target_undoes_the_switch_within_the_hold() -> Result<()> {
    let settings = Settings::default();
    let env = TestEnvironment::new(settings).await?;
    env.started().await?;
    write(&env.pair.source, 1, 1).await?;
    let status = undone_after(&env, async |env| {
        env.target_gate.black_hole();
        Ok(())
    })
    .await?;
    let took = undone_at(&status)?;
    ensure!(
        took < settings.hold_budget,
        "the source was opened after {took:?}, and the hold had ended"
    );
    ensure!(env.routes().await? == ("served by blue".into(), "served by blue".into()));
    write(&env.pair.source, 1, 2).await?;
    env.target_gate.restore();
    readers_return(&env).await?;
    ensure!(is_standby(&env.pair.target).await?);
    replicated(&env.pair.target, 2).await
}

async fn readers_return(env: &TestEnvironment) -> Result<()> {
    let message = "readers are served by their former endpoints again";
    env.until("readers return", |status| {
        let last = status.entries.last();
        last.is_some_and(|entry| entry.message == message)
    })
    .await?;
    ensure!(env.routes().await? == ("served by blue".into(), "served by green".into()));
    Ok(())
}

async fn replicated(target: &PostgresServer, written: i64) -> Result<()> {
    let all = async || Ok(rows(target, 1).await? == written);
    eventually("the standby follows", all).await
}

#[tokio::test(flavor = "multi_thread")]
async fn stuck_replay_undoes_the_switch_and_readers_return() -> Result<()> {
    let env = TestEnvironment::new(Settings {
        catch_up: Some(Duration::from_secs(1)),
        ..Settings::default()
    })
    .await?;
    env.started().await?;
    let status = undone_after(&env, async |env| {
        // The fence ends every session on the target meanwhile, the one that asks as well.
        eventually("replay is paused", async || {
            let target = env.pair.target.client("postgres").await?;
            Ok(target
                .execute("SELECT pg_wal_replay_pause()", &[])
                .await
                .is_ok())
        })
        .await
    })
    .await?;
    ensure!(
        status.headline.contains("replay"),
        "the headline names no cause: {}",
        status.headline
    );
    ensure!(env.routes().await? == ("served by blue".into(), "served by blue".into()));
    write(&env.pair.source, 1, 1).await?;
    let target = env.pair.target.client("postgres").await?;
    target
        .batch_execute("SELECT pg_wal_replay_resume()")
        .await?;
    readers_return(&env).await?;
    replicated(&env.pair.target, 1).await
}

/// A switch that was refused before it held anybody.
async fn refused_at_once(env: &TestEnvironment) -> Result<Status> {
    let status = env.engine().switch("m").await?;
    is_in(&status, &State::Undone)?;
    let held = status.entries.iter().any(|entry| entry.step == "hold");
    ensure!(!held, "{}", story(&status));
    ensure!(env.routes().await? == ("served by blue".into(), "served by green".into()));
    Ok(status)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_fails_at_the_switch_refuses_it_before_anybody_is_held() -> Result<()> {
    let env = TestEnvironment::new(Settings::default()).await?;
    env.started().await?;
    let source = env.pair.source.client_as("app", "orders").await?;
    source.batch_execute("CREATE TABLE keyless (n int)").await?;
    let status = refused_at_once(&env).await?;
    for message in ["check C", "reverse.replica-identity blocks"] {
        ensure!(status.headline.contains(message), "{}", story(&status));
    }
    write(&env.pair.source, 1, 1).await?;
    source.batch_execute("DROP TABLE keyless").await?;
    let status = env.engine().switch("m").await?;
    let switched = matches!(status.migration.state(), State::Baking { .. });
    ensure!(switched, "{}", story(&status));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_change_that_moves_nothing_refuses_the_switch_before_anybody_is_held()
-> Result<()> {
    let env = TestEnvironment::new(Settings::default()).await?;
    env.started().await?;
    env.refuse_rehearsals();
    let status = refused_at_once(&env).await?;
    for message in [
        "not every registered sidecar took a change that moves nothing",
        "refused: app-1 (malformed)",
    ] {
        ensure!(status.headline.contains(message), "{}", story(&status));
    }
    write(&env.pair.source, 1, 1).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_a_sidecar_refuses_undoes_the_switch_by_name() -> Result<()> {
    let env = TestEnvironment::new(Settings::default()).await?;
    env.started().await?;
    env.refuse_holds();
    let status = env.engine().switch("m").await?;
    is_in(&status, &State::Undone)?;
    for message in ["acknowledged the hold", "refused: app-1 (malformed)"] {
        ensure!(status.headline.contains(message), "{}", story(&status));
    }
    let fenced = status.entries.iter().any(|entry| entry.step == "fence");
    ensure!(!fenced, "{}", story(&status));
    write(&env.pair.source, 1, 1).await?;
    replicated(&env.pair.target, 1).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abort_before_the_intent_to_promote_opens_the_source() -> Result<()> {
    let env = TestEnvironment::new(Settings::default()).await?;
    env.started().await?;
    let marker = "pg_logical_emit_message(true, 'pointsman.fence'";
    let caught = env.source_gate.hold_at(marker);
    let switch = env.begin_switch();
    caught.within(SOON).await?;
    let mut rollback = pin!(env.engine().rollback("m", false));
    // Polled once, it has been asked for.
    tokio::select! {
        biased;
        outcome = &mut rollback => bail!("it did not wait for the step: {outcome:?}"),
        () = std::future::ready(()) => env.source_gate.release(),
    }
    let status = rollback.await?;
    is_in(&status, &State::Undone)?;
    ensure!(switch.await??.migration.state() == State::Undone);
    ensure!(status.headline.contains("an operator aborted the switch"));
    write(&env.pair.source, 1, 1).await?;
    ensure!(is_standby(&env.pair.target).await?);

    let status = env.engine().switch("m").await?;
    ensure!(
        matches!(status.migration.state(), State::Baking { .. }),
        "{}",
        story(&status)
    );
    ensure!(rows(&env.pair.target, 1).await? == 1);
    Ok(())
}

/// The statement that lets clients into a server again.
const OPENING: &str = "ALTER DATABASE \"orders\" ALLOW_CONNECTIONS true CONNECTION LIMIT -1";

fn waits_for_an_operator(status: &Status) -> Result<()> {
    let waits = matches!(status.migration.state(), State::NeedsOperator { .. });
    ensure!(waits, "{}", story(status));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_lost_behind_its_opening_is_never_taken_for_unwritten() -> Result<()> {
    let env = TestEnvironment::new(Settings {
        promote: Some(Duration::from_secs(1)),
        ..Settings::default()
    })
    .await?;
    env.started().await?;
    let caught = env.target_gate.hold_answer_to(OPENING);
    let switch = env.begin_switch();
    caught.within(SOON).await?;
    let opened = async || Ok(write(&env.pair.target, 1, 1).await.is_ok());
    eventually("the target is open", opened).await?;
    env.target_gate.sever();
    waits_for_an_operator(&switch.await??)?;

    waits_for_an_operator(&env.engine().resolve("m", "open-source").await?)?;
    env.target_gate.restore();
    waits_for_an_operator(&env.engine().resolve("m", "open-source").await?)?;
    ensure!(write(&env.pair.source, 1, 2).await.is_err());

    let status = env.engine().resolve("m", "retry").await?;
    ensure!(
        matches!(status.migration.state(), State::Baking { .. }),
        "{}",
        story(&status)
    );
    ensure!(env.routes().await?.0 == "served by green");
    ensure!(rows(&env.pair.target, 1).await? == 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_lost_before_it_opens_again_is_tried_again_by_an_operator() -> Result<()> {
    let env = TestEnvironment::new(Settings {
        promote: Some(Duration::from_secs(1)),
        ..Settings::default()
    })
    .await?;
    env.switched().await?;
    write(&env.pair.target, 1, 1).await?;
    let caught = env.source_gate.hold_at(OPENING);
    let rollback = env.begin_rollback(false);
    caught.within(SOON).await?;
    env.source_gate.sever();
    waits_for_an_operator(&rollback.await??)?;
    ensure!(write(&env.pair.target, 1, 2).await.is_err());
    ensure!(write(&env.pair.source, 1, 2).await.is_err());

    env.source_gate.restore();
    let status = env.engine().resolve("m", "retry").await?;
    is_in(&status, &State::RolledBack)?;
    ensure!(rows(&env.pair.source, 1).await? == 1);
    write(&env.pair.source, 1, 2).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_to_a_silent_source_is_refused_and_the_target_serves_on() -> Result<()> {
    let env = TestEnvironment::new(Settings::default()).await?;
    env.switched().await?;
    env.source_gate.black_hole();
    let refusal = env.engine().rollback("m", false).await;
    ensure!(
        matches!(&refusal, Err(EngineError::Refused(message)) if message.contains("blue")),
        "{refusal:?}"
    );
    write(&env.pair.target, 1, 1).await?;
    ensure!(env.routes().await?.0 == "served by green");
    env.source_gate.restore();
    env.proven().await?;
    let status = env.engine().rollback("m", false).await?;
    is_in(&status, &State::RolledBack)?;
    ensure!(rows(&env.pair.source, 1).await? == 1);
    Ok(())
}

/// Behind the point of no return both servers are closed: a store that fails for a moment is
/// tried again, as a server would be.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_fails_behind_the_promotion_is_tried_again() -> Result<()> {
    let env = TestEnvironment::new(Settings::default()).await?;
    env.started().await?;
    write(&env.pair.source, 1, 1).await?;
    let caught = env.target_gate.hold_at("THEN pg_promote");
    let switch = env.begin_switch();
    caught.within(SOON).await?;
    env.store().fail_reads(3);
    env.target_gate.release();
    let status = switch.await??;
    ensure!(
        matches!(status.migration.state(), State::Baking { .. }),
        "{}",
        story(&status)
    );
    ensure!(env.store().reads_to_fail() == 0, "too few reads failed");
    ensure!(rows(&env.pair.target, 1).await? == 1);
    write(&env.pair.target, 1, 2).await
}
