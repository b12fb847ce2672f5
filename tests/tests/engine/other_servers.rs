//! A third server of the same system, which somebody else promotes.

use anyhow::{Result, ensure};
use pointsman_cutover::{
    EngineError, Settings, Status,
    machine::{Direction, State, Step},
};
use pointsman_lab::postgres::{PostgresServer, start_standby};

use super::{
    managed::{STALLED, asked, ended, in_state},
    servers::{SOON, is_standby, rows, write},
    support::{TestEnvironment, is_in, is_whole, story},
};

const CLOSING: &str = "ALLOW_CONNECTIONS false";
const NOT_OURS: &str = "red is a primary on timeline 2";

/// A pair with another standby of the source, which readers use.
async fn with_a_third_server() -> Result<(TestEnvironment, PostgresServer)> {
    let mut env = TestEnvironment::new(Settings::default()).await?;
    let red = start_standby("red", env.folder(), &env.pair.source).await?;
    env.add_reader(&red).await?;
    env.waive("S6=red")?;
    Ok((env, red))
}

/// As an HA manager does that found the source closed.
async fn promote(server: &PostgresServer) -> Result<()> {
    let session = server.client("postgres").await?;
    session.execute("SELECT pg_promote(true)", &[]).await?;
    ensure!(!is_standby(server).await?);
    Ok(())
}

fn says(status: &Status) -> Result<()> {
    ensure!(status.headline.contains(NOT_OURS), "{}", story(status));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn s6_another_standby_blocks_until_it_is_waived_by_name() -> Result<()> {
    let env = TestEnvironment::new(Settings::default()).await?;
    let _red = start_standby("red", env.folder(), &env.pair.source).await?;
    env.create("m", &[]).await?;
    let report = env.engine().preflight("m").await?;
    let blocks: Vec<_> = report.blocking().map(|found| found.id.as_str()).collect();
    ensure!(blocks == ["S6"], "{blocks:?}");
    let refused = env.engine().start("m").await;
    ensure!(matches!(refused, Err(EngineError::Refused(_))));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn s6_a_standby_that_was_promoted_before_the_fence_lets_no_switch_begin() -> Result<()> {
    let (env, red) = with_a_third_server().await?;
    env.started().await?;
    promote(&red).await?;
    let status = env.engine().switch("m").await?;
    is_in(&status, &State::Undone)?;
    says(&status)?;
    ensure!(!status.entries.iter().any(|entry| entry.step == "hold"));
    write(&env.pair.source, 1, 1).await
}

#[tokio::test(flavor = "multi_thread")]
async fn s6_a_standby_that_is_promoted_behind_the_fence_stops_the_switch() -> Result<()> {
    let (env, red) = with_a_third_server().await?;
    env.started().await?;
    write(&env.pair.source, 1, 1).await?;
    let closed = env.source_gate.hold_answer_to(CLOSING);
    let switch = env.begin_switch();
    closed.within(SOON).await?;
    promote(&red).await?;
    env.source_gate.release();
    let status = switch.await??;
    println!("{}", story(&status));
    is_in(
        &status,
        &State::NeedsOperator {
            direction: Direction::Forward,
            step: Step::Prove,
        },
    )?;
    says(&status)?;
    ensure!(is_standby(&env.pair.target).await?);
    ensure!(write(&env.pair.source, 1, 2).await.is_err());

    // The source would be a second writer beside it.
    let status = env.engine().resolve("m", "retry").await?;
    says(&status)?;
    ensure!(write(&env.pair.source, 1, 2).await.is_err());
    red.stop().await?;
    let status = env.engine().resolve("m", "retry").await?;
    is_in(&status, &State::Undone)?;
    write(&env.pair.source, 1, 2).await?;
    ensure!(rows(&env.pair.source, 1).await? == 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn s6_a_standby_that_is_promoted_behind_the_promotion_keeps_the_target_closed() -> Result<()>
{
    let (env, red) = with_a_third_server().await?;
    env.started().await?;
    let slots = env.target_gate.hold_at("pointsman_rb_1");
    let switch = env.begin_switch();
    slots.within(SOON).await?;
    promote(&red).await?;
    env.target_gate.release();
    let status = switch.await??;
    is_in(
        &status,
        &State::NeedsOperator {
            direction: Direction::Forward,
            step: Step::Flip,
        },
    )?;
    says(&status)?;
    ensure!(write(&env.pair.target, 1, 1).await.is_err());
    red.stop().await?;
    let status = env.engine().resolve("m", "retry").await?;
    ensure!(matches!(status.migration.state(), State::Baking { .. }));
    write(&env.pair.target, 1, 1).await
}

#[tokio::test(flavor = "multi_thread")]
async fn s6_a_standby_that_is_promoted_in_a_rollback_keeps_the_source_closed() -> Result<()> {
    let (env, red) = with_a_third_server().await?;
    env.switched().await?;
    env.proven().await?;
    let closed = env.target_gate.hold_answer_to(CLOSING);
    let rollback = env.begin_rollback(false);
    closed.within(SOON).await?;
    promote(&red).await?;
    env.target_gate.release();
    let status = rollback.await??;
    is_in(
        &status,
        &State::NeedsOperator {
            direction: Direction::Reverse,
            step: Step::Flip,
        },
    )?;
    says(&status)?;
    ensure!(write(&env.pair.source, 1, 1).await.is_err());
    ensure!(write(&env.pair.target, 1, 1).await.is_err());
    red.stop().await?;
    let status = env.engine().resolve("m", "retry").await?;
    is_in(&status, &State::RolledBack)?;
    write(&env.pair.source, 1, 1).await
}

#[tokio::test(flavor = "multi_thread")]
async fn s6_a_standby_that_is_promoted_in_the_bake_parks_the_migration() -> Result<()> {
    let (env, red) = with_a_third_server().await?;
    env.switched().await?;
    promote(&red).await?;
    let parked = State::NeedsOperator {
        direction: Direction::Reverse,
        step: Step::Prepare,
    };
    let status = env
        .until("the migration is parked", |status| {
            status.migration.state() == parked
        })
        .await?;
    says(&status)?;
    // The target serves on.
    write(&env.pair.target, 1, 1).await?;
    red.stop().await?;
    env.engine().resolve("m", "retry").await?;
    let status = env.proven().await?;
    ensure!(is_whole(&status), "{}", story(&status));
    let unknown = |status: &Status| {
        let mut warnings = status.alarm_warnings.iter();
        warnings.any(|warning| warning.starts_with("whether red was promoted is not known"))
    };
    env.until("it is said that nobody knows", unknown).await?;
    is_in(
        &env.engine().rollback("m", false).await?,
        &State::RolledBack,
    )?;
    ensure!(rows(&env.pair.source, 1).await? == 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn s6_a_standby_that_is_promoted_while_an_api_promotes_calls_an_operator() -> Result<()> {
    let (env, red) = with_a_third_server().await?;
    env.api.switch_on();
    env.started().await?;
    let switch = asked(&env).await?;
    promote(&red).await?;
    let status = in_state(&env, STALLED).await?;
    says(&status)?;
    red.stop().await?;
    // What was asked for comes through all the same.
    env.api.promote(&env.pair.target).await?;
    let status = ended(switch).await?;
    ensure!(
        !matches!(status.migration.state(), State::Undone),
        "{}",
        story(&status)
    );
    env.until("the target serves", |status| {
        matches!(status.migration.state(), State::Baking { .. })
    })
    .await?;
    write(&env.pair.target, 1, 1).await
}

#[tokio::test(flavor = "multi_thread")]
async fn s6_a_standby_that_is_promoted_while_an_operator_is_waited_for_is_said() -> Result<()> {
    let (env, red) = with_a_third_server().await?;
    env.switched().await?;
    env.engine()
        .park("m", "somebody moved routes".to_owned())
        .await?;
    promote(&red).await?;
    let status = env
        .until("it is said and noted", |status| {
            let mut entries = status.entries.iter();
            status.headline.contains(NOT_OURS)
                && entries.any(|entry| entry.message.contains(NOT_OURS))
        })
        .await?;
    ensure!(matches!(
        status.migration.state(),
        State::NeedsOperator { .. }
    ));
    let said = status.entries.iter();
    let said = said.filter(|entry| entry.message.contains(NOT_OURS));
    ensure!(said.count() == 1, "{}", story(&status));
    red.stop().await?;
    env.until("it is gone", |status| !status.headline.contains(NOT_OURS))
        .await?;
    Ok(())
}
