//! A migration that nothing else ends is ended by an operator's word, and nothing is touched.

use anyhow::{Context, Result, ensure};
use pointsman_cutover::{
    EngineError, Settings, Status,
    machine::{Direction, State, Step},
};
use pointsman_lab::postgres::start_standby;
use tokio::time::timeout;

use super::{
    exits::{is_silent, refused},
    servers::{SOON, write},
    support::{TestEnvironment, is_in, story},
};

const PARKED: State = State::NeedsOperator {
    direction: Direction::Reverse,
    step: Step::Prepare,
};

async fn abandon(env: &TestEnvironment) -> Result<Status, EngineError> {
    let both = ["blue", "green"].map(|name| name.parse().expect("a server's name"));
    env.engine().abandon("m", &both).await
}

async fn parked(env: &TestEnvironment) -> Result<Status> {
    env.until("the migration is parked", |status| {
        status.migration.state() == PARKED
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn s25_with_both_servers_down_for_good_a_migration_is_ended_by_name_of_what_is_given_up()
-> Result<()> {
    let env = TestEnvironment::new(Settings::default()).await?;
    env.switched().await?;
    refused(abandon(&env), "answers, so the migration can be ended").await?;
    env.pair.target.crash().await?;
    env.until("the target is seen to be silent", is_silent)
        .await?;
    // The source can be opened still.
    refused(abandon(&env), "blue answers").await?;
    env.pair.source.crash().await?;
    let status = env.engine().status("m")?;
    let named = "migration abandon m --leave blue --leave green";
    ensure!(
        status.way_back.message.contains(named),
        "{:?}",
        status.way_back
    );
    let one = ["blue".parse()?];
    let half = env.engine().abandon("m", &one).await;
    ensure!(
        matches!(&half, Err(EngineError::Invalid(said)) if said.contains("name both")),
        "{half:?}"
    );
    let routes = env.routes().await?;
    let status = timeout(SOON, abandon(&env)).await.context("it hangs")??;
    is_in(&status, &State::Abandoned)?;
    for said in [
        "nothing was touched on blue or green",
        "blue is closed by this migration's fence",
        "slots pointsman_rb_",
    ] {
        ensure!(status.headline.contains(said), "{}", status.headline);
    }
    ensure!(env.routes().await? == routes);
    // Its servers are free.
    env.send_all_writers_to("blue").await?;
    env.create("next", &[]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn s25_a_migration_whose_writers_are_with_a_third_server_is_ended_by_a_verb() -> Result<()> {
    let mut env = TestEnvironment::new(Settings::default()).await?;
    let red = start_standby("red", env.folder(), &env.pair.source).await?;
    env.add_reader(&red).await?;
    env.waive("S6=red")?;
    env.switched().await?;
    env.send_writers_to("red").await?;
    env.stream_gate.sever();
    parked(&env).await?;
    // One of the databases is with the target still.
    refused(abandon(&env), "answers, so the migration can be ended").await?;
    env.send_all_writers_to("red").await?;
    let status = abandon(&env).await?;
    is_in(&status, &State::Abandoned)?;
    ensure!(
        env.routes().await?.0 == "served by red",
        "{}",
        story(&status)
    );
    // The servers stand as they stood.
    write(&env.pair.target, 1, 1).await?;
    ensure!(write(&env.pair.source, 1, 1).await.is_err());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn s25_a_migration_that_can_be_cancelled_is_not_abandoned() -> Result<()> {
    let env = TestEnvironment::new(Settings::default()).await?;
    env.started().await?;
    refused(abandon(&env), "it can be switched or cancelled").await
}
