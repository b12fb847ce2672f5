//! A target that serves nobody in its bake: new connections are held, by the word of two.

use std::{fs, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use pointsman_catalog::UnixMillis;
use pointsman_cutover::{
    Settings, Status,
    machine::{Event, State},
    ports::Reached,
};
use tokio::{task::JoinSet, time::timeout};

use super::{
    crashes::goes_back,
    exits::{as_before, is_silent, refused},
    servers::{SOON, eventually, write},
    support::{TestEnvironment, story},
};

const SERVED: &str = "served by green";
const HELD: &str = "held, served before by green";

/// A bake under sidecars that say, with the engine, that they do not reach the target.
async fn down_for_all() -> Result<TestEnvironment> {
    let env = TestEnvironment::new(Settings::default()).await?;
    env.switched().await?;
    write(&env.pair.target, 1, 1).await?;
    env.report_on_target(Reached::No("refused".to_owned()));
    env.pair.target.crash().await?;
    is_held(&env).await?;
    Ok(env)
}

async fn is_held(env: &TestEnvironment) -> Result<Status> {
    let status = env
        .until("new connections are held", |status| {
            is_silent(status) && status.headline.contains("new connections are held since")
        })
        .await?;
    let (writers, readers) = env.routes().await?;
    ensure!(writers == HELD && readers == HELD, "{writers}, {readers}");
    Ok(status)
}

/// How often this stands in the journal.
fn happened(status: &Status, event: Event) -> usize {
    let entries = status.entries.iter();
    let events = entries.filter_map(|entry| entry.happened.as_ref());
    events.filter(|happened| happened.event == event).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn s7_new_connections_are_held_while_the_target_is_down_and_go_there_when_it_is_back()
-> Result<()> {
    let env = down_for_all().await?;
    ensure!(write(&env.pair.source, 1, 2).await.is_err());
    refused(
        env.engine().complete("m", false),
        "new connections are held for it",
    )
    .await?;
    env.pair.target.start().await?;
    let status = env.until("all is as before", as_before).await?;
    ensure!(env.routes().await? == (SERVED.to_owned(), SERVED.to_owned()));
    ensure!(
        happened(&status, Event::TargetDown) == 1,
        "{}",
        story(&status)
    );
    ensure!(
        happened(&status, Event::TargetBack) == 1,
        "{}",
        story(&status)
    );
    write(&env.pair.target, 1, 2).await?;
    goes_back(&env, 2).await
}

#[tokio::test(flavor = "multi_thread")]
async fn s7_nobody_is_held_by_the_word_of_the_engine_alone() -> Result<()> {
    let env = TestEnvironment::new(Settings::default()).await?;
    env.switched().await?;
    // The engine is cut off from the target, and the sidecars are not.
    for (said, why) in [
        (Reached::Yes, "nobody is held: sidecar app-1 reaches green"),
        (
            Reached::Unknown("it has not reported for 4 s".to_owned()),
            "nobody is held: no sidecar has said",
        ),
    ] {
        env.report_on_target(said);
        env.target_gate.sever();
        env.until("it is said why nobody is held", |status| {
            is_silent(status) && status.headline.contains(why)
        })
        .await?;
        ensure!(env.routes().await?.0 == SERVED);
        env.target_gate.restore();
        env.until("all is as before", as_before).await?;
    }
    let status = env.engine().status("m")?;
    ensure!(
        happened(&status, Event::TargetDown) == 0,
        "{}",
        story(&status)
    );
    write(&env.pair.target, 1, 1).await
}

#[tokio::test(flavor = "multi_thread")]
async fn s7_an_error_of_the_engines_own_holds_nobody() -> Result<()> {
    let env = TestEnvironment::new(Settings::default()).await?;
    env.switched().await?;
    env.report_on_target(Reached::No("refused".to_owned()));
    let role = env.pair.target.hosting().control_role();
    let target = env.pair.target.client("postgres").await?;
    let shut_out = format!(
        "ALTER ROLE {role} NOLOGIN; \
         SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
           WHERE application_name LIKE 'pointsman/%'"
    );
    target.batch_execute(&shut_out).await?;
    let lapsed = |status: &Status| status.reverse_stream() == "arming";
    let status = env.until("the engine meets an error", lapsed).await?;
    ensure!(!is_silent(&status), "{}", status.headline);
    // It has gone on looking.
    let tried = |status: &Status| {
        let mut entries = status.entries.iter();
        entries.any(|entry| entry.message.contains("28000"))
    };
    let status = env.until("the error is said", tried).await?;
    ensure!(env.routes().await?.0 == SERVED, "{}", story(&status));
    ensure!(
        happened(&status, Event::TargetDown) == 0,
        "{}",
        story(&status)
    );
    target
        .batch_execute(&format!("ALTER ROLE {role} LOGIN"))
        .await?;
    env.until("all is as before", as_before).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn s7_killed_in_an_outage_the_next_engine_gives_the_route_back() -> Result<()> {
    let mut env = down_for_all().await?;
    env.kill().await?;
    env.pair.target.start().await?;
    env.take_over().await?;
    env.until("all is as before", as_before).await?;
    ensure!(env.routes().await? == (SERVED.to_owned(), SERVED.to_owned()));
    write(&env.pair.target, 1, 2).await
}

#[tokio::test(flavor = "multi_thread")]
async fn s7_a_target_that_comes_back_as_another_gets_nobody() -> Result<()> {
    let env = down_for_all().await?;
    // Somebody made a standby of it.
    fs::write(env.pair.target.data_folder().join("standby.signal"), "")?;
    env.pair.target.start().await?;
    let parked = |status: &Status| matches!(status.migration.state(), State::NeedsOperator { .. });
    let status = env.until("the migration is parked", parked).await?;
    ensure!(
        status.headline.contains("green is a standby"),
        "{}",
        status.headline
    );
    ensure!(env.routes().await?.0 == HELD);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn s7_a_hold_ends_and_what_was_held_is_given_back_all_the_same() -> Result<()> {
    let env = TestEnvironment::new(Settings {
        hold_budget: Duration::from_millis(1_500),
        ..Settings::default()
    })
    .await?;
    env.switched().await?;
    env.report_on_target(Reached::No("refused".to_owned()));
    env.pair.target.crash().await?;
    let status = is_held(&env).await?;
    let until = status.migration.facts.hold_until();
    let until = until.context("no end is on record")?;
    let began = status.migration.machine.held_since();
    let began = began.context("no beginning is on record")?;
    ensure!(until.since(began) <= Duration::from_millis(1_500));
    eventually("the hold is over", async || Ok(UnixMillis::now() > until)).await?;
    // Once for the outage: past its end nobody is parked anew.
    let status = env.until("it is silent", is_silent).await?;
    ensure!(
        happened(&status, Event::TargetDown) == 1,
        "{}",
        story(&status)
    );
    ensure!(status.migration.facts.hold_until() == Some(until));
    env.pair.target.start().await?;
    env.until("all is as before", as_before).await?;
    ensure!(env.routes().await?.0 == SERVED);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn s25_a_target_that_is_starting_is_waited_for_and_is_not_down_whatever_is_asserted()
-> Result<()> {
    let env = TestEnvironment::new(Settings::default()).await?;
    env.switched().await?;
    env.pair.target.crash().await?;
    // It recovers, and lets nobody in before it is through.
    let folder = env.pair.target.data_folder();
    let settings = folder.join("postgresql.auto.conf");
    let former = fs::read(&settings)?;
    let recovers = "\nprimary_conninfo = ''\nprimary_slot_name = ''\n\
         restore_command = 'while [ -e standby.signal ]; do sleep 0.1; done; false'\n";
    fs::write(&settings, [former.as_slice(), recovers.as_bytes()].concat())?;
    fs::write(folder.join("standby.signal"), "")?;
    let server = env.pair.target.clone();
    let mut starting = JoinSet::new();
    starting.spawn(async move { server.start().await });
    let lets_nobody_in =
        |status: &Status| status.headline.starts_with("green lets nobody in since ");
    let status = tokio::select! {
        status = env.until("it is said that it starts", lets_nobody_in) => status?,
        Some(ended) = starting.join_next() => bail!("it does not recover: {ended:?}"),
    };
    ensure!(status.choices.is_empty(), "{:?}", status.choices);
    ensure!(!status.way_back.lossless, "{:?}", status.way_back);
    // Its own word is enough to hold those who come.
    env.until("new connections are held", |status| {
        status.headline.contains("new connections are held since")
    })
    .await?;
    let asserts = env.engine().resolve("m", "open-source-target-is-down");
    refused(asserts, "blue stays closed").await?;
    ensure!(write(&env.pair.source, 1, 1).await.is_err());
    starting.shutdown().await;
    env.pair.target.stop().await?;
    fs::write(&settings, former)?;
    fs::remove_file(folder.join("standby.signal"))?;
    let through = timeout(SOON, env.pair.target.start());
    through.await.context("it does not start")??;
    env.until("all is as before", as_before).await?;
    write(&env.pair.target, 1, 1).await
}
