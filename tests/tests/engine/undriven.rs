//! What the engine itself needs fails: it says so, and goes on by itself.

use anyhow::{Context, Result, ensure};
use pointsman_catalog::store::{Key, Precondition, Write};
use pointsman_cutover::{
    Settings, Status,
    machine::{State, StreamState},
};

use super::{
    servers::{rows, write},
    support::{TestEnvironment, is_in, story},
};

const PROVEN: State = State::Baking {
    stream: StreamState::Proven,
};

/// What is said once a driver has put the migration down.
const GIVEN_UP: &str = "it is taken up again after";

async fn undriven(env: &TestEnvironment, because: &str) -> Result<Status> {
    let says = |cause: &String| cause.contains(because);
    let status = env
        .until(because, |status| {
            status.not_driven.as_ref().is_some_and(says)
        })
        .await?;
    ensure!(
        status.headline.starts_with("not driven: "),
        "{}",
        status.headline
    );
    ensure!(!status.way_back.lossless && status.choices.is_empty());
    Ok(status)
}

async fn driven_again(env: &TestEnvironment) -> Result<Status> {
    env.until("somebody drives the migration", |status| {
        status.not_driven.is_none()
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn s21_a_full_disk_refuses_a_request_and_leaves_nothing_of_it() -> Result<()> {
    let env = TestEnvironment::new(Settings::default()).await?;
    env.started().await?;
    env.store().fill(true);
    let refused = env.engine().switch("m").await.unwrap_err().to_string();
    ensure!(
        refused.contains("is not driven now: the journal could not be written"),
        "{refused}"
    );
    undriven(&env, GIVEN_UP).await?;
    env.store().fill(false);
    let status = driven_again(&env).await?;
    is_in(&status, &State::Prepared)?;
    write(&env.pair.source, 1, 1).await?;
    env.engine().switch("m").await?;
    is_in(&env.proven().await?, &PROVEN)
}

#[tokio::test(flavor = "multi_thread")]
async fn s21_a_disk_that_fills_up_in_a_switch_ends_it_once_there_is_room() -> Result<()> {
    let env = TestEnvironment::new(Settings::default()).await?;
    env.started().await?;
    write(&env.pair.source, 1, 1).await?;

    let marker = env.source_gate.hold_at("pg_logical_emit_message");
    let switch = env.begin_switch();
    marker.within(super::servers::SOON).await?;
    env.store().fill(true);
    env.source_gate.release();
    undriven(&env, GIVEN_UP).await?;
    env.store().fill(false);
    driven_again(&env).await?;
    let _ = switch.await?;
    let status = env.settled().await?;
    is_in(&status, &State::Undone)?;
    write(&env.pair.source, 1, 2).await?;

    let promotion = env.target_gate.hold_at("THEN pg_promote");
    let switch = env.begin_switch();
    promotion.within(super::servers::SOON).await?;
    env.store().fill(true);
    env.target_gate.release();
    undriven(&env, GIVEN_UP).await?;
    env.store().fill(false);
    driven_again(&env).await?;
    let _ = switch.await?;
    is_in(&env.proven().await?, &PROVEN)?;
    ensure!(rows(&env.pair.target, 1).await? == 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_in_a_switch_is_said_and_undone() -> Result<()> {
    let env = TestEnvironment::new(Settings::default()).await?;
    env.started().await?;
    env.plant_panic();
    let switch = env.begin_switch();
    undriven(&env, "a fault of this program: planted").await?;
    let status = switch.await??;
    is_in(&status, &State::Undone)?;
    let cause = status.migration.cause.clone().context("a cause")?;
    ensure!(
        cause.starts_with("the migration was taken up again after a failure in step"),
        "{}",
        story(&status)
    );
    write(&env.pair.source, 1, 1).await?;
    env.engine().switch("m").await?;
    is_in(&env.proven().await?, &PROVEN)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_record_keeps_no_other_migration_from_being_driven() -> Result<()> {
    let mut env = TestEnvironment::new(Settings::default()).await?;
    env.started().await?;
    let entry = Key::new("journal/m/0000000001");
    let whole = env.catalog().store().get(&entry).await?;
    let whole = whole.context("the first entry")?.value;
    let text = String::from_utf8(whole.clone())?;
    let altered = text.replace("no check blocks", "no checks block");
    ensure!(altered != text, "{text}");
    put(&env, &entry, altered.into_bytes()).await?;
    put(&env, &Key::new("migrations/other"), b"{}".to_vec()).await?;
    env.kill().await?;

    env.take_over().await?;
    undriven(&env, "entry 1 of migration m does not match its hash").await?;
    let unread = env.engine().status("other").unwrap_err().to_string();
    ensure!(
        unread.starts_with("the record of migration \"other\" cannot be read"),
        "{unread}"
    );
    ensure!(env.engine().unreadable_migrations().contains_key("other"));
    let refused = env.engine().switch("m").await.unwrap_err().to_string();
    ensure!(refused.contains("is not driven now"), "{refused}");

    put(&env, &entry, whole).await?;
    let status = driven_again(&env).await?;
    is_in(&status, &State::Prepared)?;
    env.engine().switch("m").await?;
    is_in(&env.proven().await?, &PROVEN)
}

async fn put(env: &TestEnvironment, key: &Key, value: Vec<u8>) -> Result<()> {
    let write = Write {
        key: key.clone(),
        value: Some(value),
        when: Precondition::Any,
    };
    env.catalog().store().commit(vec![write]).await?;
    Ok(())
}
