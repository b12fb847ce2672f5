//! A target that an API promotes: asked once, waited for, and the source opened by proof alone.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use pointsman_catalog::UnixMillis;
use pointsman_cutover::{
    Settings, Status,
    machine::{Direction, PromotionStage, State},
};
use pointsman_lab::postgres::PostgresServer;
use tokio::{task::JoinHandle, time::timeout};

use super::{
    api::Reception,
    servers::{SOON, eventually, rows, write},
    support::{TestEnvironment, is_in, story},
};

pub(super) const UNDER_WAY: State = State::Promoting {
    stage: PromotionStage::UnderWay,
};
pub(super) const STALLED: State = State::Promoting {
    stage: PromotionStage::Stalled,
};

/// Fails while database `orders` is open.
pub(super) const IS_CLOSED: &str = "DO $$ BEGIN ASSERT NOT (SELECT datallowconn FROM pg_database \
     WHERE datname = 'orders'); END $$";

/// Migration `m`, ready to switch to a target that an API promotes.
pub(super) async fn managed() -> Result<TestEnvironment> {
    let settings = Settings {
        hold_budget: Duration::from_secs(5),
        ..Settings::default()
    };
    let env = TestEnvironment::new(settings).await?;
    env.api.switch_on();
    env.started().await?;
    write(&env.pair.source, 1, 1).await?;
    Ok(env)
}

/// Begins a switch and waits until the API has its request.
pub(super) async fn asked(env: &TestEnvironment) -> Result<JoinHandle<Result<Status>>> {
    let mut switch = env.begin_switch();
    tokio::select! {
        asked = eventually("the API is asked", async || Ok(env.api.received() == 1)) => asked?,
        ended = &mut switch => bail!("the API was not asked: {}", story(&ended??)),
    }
    Ok(switch)
}

pub(super) async fn in_state(env: &TestEnvironment, state: State) -> Result<Status> {
    let what = format!("it is {state:?}");
    env.until(&what, |status| status.migration.state() == state)
        .await
}

/// What became of a switch.
pub(super) async fn ended(switch: JoinHandle<Result<Status>>) -> Result<Status> {
    timeout(SOON, switch).await.context("it does not end")??
}

/// The API is asked how far it is, again and again, and the state is the same.
pub(super) async fn stays_in(env: &TestEnvironment, state: State) -> Result<Status> {
    let looks = env.api.looks();
    eventually("it is looked at", async || Ok(env.api.looks() > looks + 2)).await?;
    let status = env.engine().status("m")?;
    is_in(&status, &state)?;
    Ok(status)
}

pub(super) async fn source_is_closed(env: &TestEnvironment) -> Result<()> {
    let refused = write(&env.pair.source, 1, 99).await;
    ensure!(refused.is_err(), "the source took a write");
    Ok(())
}

/// A statement of a superuser's, whose session the engine may end at any time.
pub(super) async fn as_superuser(
    server: &PostgresServer,
    datname: &str,
    statement: &str,
) -> Result<()> {
    eventually(statement, async || {
        let Ok(session) = server.client(datname).await else {
            return Ok(false);
        };
        Ok(session.batch_execute(statement).await.is_ok())
    })
    .await
}

pub(super) fn baking(status: &Status) -> Result<()> {
    let baking = matches!(status.migration.state(), State::Baking { .. });
    ensure!(baking, "{}", story(status));
    Ok(())
}

pub(super) fn needs_operator(status: &Status) -> Result<()> {
    let waits = matches!(status.migration.state(), State::NeedsOperator { .. });
    ensure!(waits, "{}", story(status));
    Ok(())
}

pub(super) fn cause(status: &Status, expected: &str) -> Result<()> {
    let cause = status.migration.cause.as_deref().unwrap_or("none");
    ensure!(cause.contains(expected), "{cause}");
    Ok(())
}

/// Somebody comes in behind the fence and gets an answer to `query`; the session is ended.
pub(super) async fn asks_and_is_ended(env: &TestEnvironment, query: &str) -> Result<()> {
    eventually("somebody looks in", async || {
        // It may be ended before it has asked.
        let Ok(superuser) = env.pair.source.client("postgres").await else {
            return Ok(false);
        };
        if superuser.query(query, &[]).await.is_err() {
            return Ok(false);
        }
        eventually("the session is ended", async || {
            Ok(superuser.query("SELECT 1", &[]).await.is_err())
        })
        .await?;
        Ok(true)
    })
    .await
}

/// Somebody comes in behind the fence while an API promotes, asks `query` and writes nothing: the
/// session is ended, and stops nothing.
pub(super) async fn only_looks_in(
    env: &TestEnvironment,
    switch: JoinHandle<Result<Status>>,
    query: &str,
) -> Result<()> {
    asks_and_is_ended(env, query).await?;
    stays_in(env, UNDER_WAY).await?;
    env.api.promote(&env.pair.target).await?;
    let status = ended(switch).await?;
    ensure!(status.migration.cause.is_none(), "{}", story(&status));
    there_and_back(env).await
}

/// The target serves what was written before, and the way back loses nothing.
pub(super) async fn there_and_back(env: &TestEnvironment) -> Result<()> {
    let status = env.proven().await?;
    ensure!(env.routes().await?.0 == "served by green");
    ensure!(rows(&env.pair.target, 1).await? == 1, "{}", story(&status));
    write(&env.pair.target, 1, 2).await?;
    let status = env.engine().rollback("m", false).await?;
    is_in(&status, &State::RolledBack)?;
    ensure!(rows(&env.pair.source, 1).await? == 2);
    write(&env.pair.source, 1, 3).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_outlives_its_hold_and_serves_once_the_api_has_promoted() -> Result<()> {
    let env = managed().await?;
    let status = env.engine().status("m")?;
    for words in ["usually takes 240s", "refused from the end of the hold"] {
        ensure!(status.headline.contains(words), "{}", status.headline);
    }
    let switch = asked(&env).await?;
    let status = in_state(&env, UNDER_WAY).await?;
    for words in [
        "an API promotes green, asked for at 20",
        "usually takes 240s",
        "refused from 20",
    ] {
        ensure!(status.headline.contains(words), "{}", status.headline);
    }
    let hold = status.migration.facts.hold_until();
    let is_over = async || Ok(hold.is_some_and(|hold| hold < UnixMillis::now()));
    eventually("the hold has ended", is_over).await?;
    let status = stays_in(&env, UNDER_WAY).await?;
    ensure!(status.way_back.message.contains("cannot be called back"));
    source_is_closed(&env).await?;

    env.api.promote(&env.pair.target).await?;
    let status = ended(switch).await?;
    baking(&status)?;
    ensure!(status.migration.cause.is_none(), "{}", story(&status));
    ensure!(env.api.tokens() == [status.migration.facts.token()?.clone()]);
    println!("{}", story(&status));
    there_and_back(&env).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_shows_that_an_api_is_asked_once_and_asks_none() -> Result<()> {
    let env = managed().await?;
    let lines = env.engine().dry_run("m", Direction::Forward).await?;
    let at = |words: &str| lines.iter().position(|line| line.contains(words));
    let steps = [
        "-- forward prove",
        "-- forward promote",
        "the API is asked to promote green",
        "the API is asked how far it is",
        "-- forward prime",
    ]
    .map(at);
    ensure!(
        steps.iter().all(Option::is_some) && steps.is_sorted(),
        "{lines:#?}"
    );
    ensure!(
        !lines.iter().any(|line| line.contains("pg_promote")),
        "{lines:#?}"
    );
    ensure!(env.api.received() == 0);
    write(&env.pair.source, 1, 2).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_done_while_an_api_promotes_is_said_in_words() -> Result<()> {
    let env = managed().await?;
    let _switch = asked(&env).await?;
    in_state(&env, UNDER_WAY).await?;
    let engine = env.engine();
    let refusals = [
        engine.rollback("m", false).await.unwrap_err(),
        engine.rollback("m", true).await.unwrap_err(),
        engine.cancel("m").await.unwrap_err(),
        engine.complete("m", false).await.unwrap_err(),
        engine.resolve("m", "open-source").await.unwrap_err(),
        engine.resolve("m", "wait").await.unwrap_err(),
    ];
    for refusal in refusals {
        let refusal = refusal.to_string();
        for words in [
            "being promoted by an API",
            "cannot be called back",
            "before it is through",
        ] {
            ensure!(refusal.contains(words), "{refusal}");
        }
    }
    stays_in(&env, UNDER_WAY).await?;
    source_is_closed(&env).await
}

/// The engine dies when the API has its request; the next one sends none.
async fn killed_once_it_was_asked(reception: Reception) -> Result<()> {
    let mut env = managed().await?;
    env.api.receive(reception);
    let _switch = asked(&env).await?;
    if reception == Reception::Accepted {
        in_state(&env, UNDER_WAY).await?;
    }
    env.kill().await?;
    env.take_over().await?;
    stays_in(&env, UNDER_WAY).await?;
    source_is_closed(&env).await?;
    env.api.promote(&env.pair.target).await?;
    let status = env.proven().await?;
    ensure!(env.api.received() == 1, "asked twice:\n{}", story(&status));
    there_and_back(&env).await
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_an_api_promotes_the_next_engine_waits_on() -> Result<()> {
    killed_once_it_was_asked(Reception::Accepted).await
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_before_the_api_answered_the_next_engine_asks_no_second_time() -> Result<()> {
    killed_once_it_was_asked(Reception::NeverAnswered).await
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_before_the_api_was_through_the_next_engine_finds_a_primary() -> Result<()> {
    let mut env = managed().await?;
    let _switch = asked(&env).await?;
    in_state(&env, UNDER_WAY).await?;
    env.kill().await?;
    env.api.promote(&env.pair.target).await?;
    env.take_over().await?;
    there_and_back(&env).await
}
