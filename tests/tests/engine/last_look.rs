//! The server that is left is looked at again right before the other one opens; an error is no
//! answer about anybody's role.

use std::{fs, sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use pointsman_catalog::Server;
use pointsman_cutover::{
    Settings, Status,
    machine::State,
    ports::DatabaseProvider,
    providers::postgres::{PostgresProvider, SecretSources},
};
use pointsman_lab::postgres::{Hosting, PostgresServer};
use tokio::{task::JoinSet, time::sleep};

use super::{
    servers::{SOON, eventually, rows, write},
    support::{TestEnvironment, is_in, story},
};

const OPEN: &str = "ALTER DATABASE orders ALLOW_CONNECTIONS true CONNECTION LIMIT -1";
const CLOSE: &str = "ALTER DATABASE orders ALLOW_CONNECTIONS false";

/// A superuser opens `orders` on a closed server, and writes there.
async fn breaks_in(server: &PostgresServer, number: i64) -> Result<()> {
    let superuser = server.client("postgres").await?;
    superuser.batch_execute(OPEN).await?;
    let session = server.client("orders").await?;
    let sql = "INSERT INTO writes (client, number) VALUES (9, $1)";
    session.execute(sql, &[&number]).await?;
    Ok(())
}

async fn alter(server: &PostgresServer, sql: &str) -> Result<()> {
    let superuser = server.client("postgres").await?;
    Ok(superuser.batch_execute(sql).await?)
}

fn waits_for_an_operator(status: &Status) -> Result<()> {
    let waits = matches!(status.migration.state(), State::NeedsOperator { .. });
    ensure!(waits, "{}", story(status));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn s16_who_wrote_on_the_source_behind_its_proof_gets_no_second_writer() -> Result<()> {
    let env = TestEnvironment::new(Settings::default()).await?;
    env.started().await?;
    write(&env.pair.source, 1, 1).await?;
    let slots = env.target_gate.hold_at("pointsman_rb_1");
    let switch = env.begin_switch();
    slots.within(SOON).await?;
    breaks_in(&env.pair.source, 1).await?;
    env.target_gate.release();
    waits_for_an_operator(&switch.await??)?;
    ensure!(
        write(&env.pair.target, 1, 2).await.is_err(),
        "the target is open"
    );

    let status = env.engine().resolve("m", "open-source").await?;
    is_in(&status, &State::RolledBack)?;
    ensure!(rows(&env.pair.source, 9).await? == 1);
    write(&env.pair.source, 1, 2).await
}

#[tokio::test(flavor = "multi_thread")]
async fn s16_a_rollback_opens_the_source_only_beside_a_target_that_is_closed_and_unwritten()
-> Result<()> {
    if Hosting::from_environment()? == Hosting::Managed {
        // What is held at is the reload of pg_hba.conf.
        return Ok(());
    }
    let env = TestEnvironment::new(Settings::default()).await?;
    env.switched().await?;
    write(&env.pair.target, 1, 1).await?;
    let reload = env.source_gate.hold_at("pg_reload_conf");
    let rollback = env.begin_rollback(false);
    reload.within(SOON).await?;
    breaks_in(&env.pair.target, 1).await?;
    env.source_gate.release();
    waits_for_an_operator(&rollback.await??)?;
    ensure!(
        write(&env.pair.source, 1, 2).await.is_err(),
        "the source is open"
    );

    // It answers, and is open: no word makes it one that is down.
    let status = env
        .engine()
        .resolve("m", "open-source-target-is-down")
        .await?;
    waits_for_an_operator(&status)?;
    alter(&env.pair.target, CLOSE).await?;
    let status = env.engine().resolve("m", "retry").await?;
    waits_for_an_operator(&status)?;
    let cause = status.migration.cause.clone().context("a cause")?;
    let by_records = cause.contains("transactions were committed on green");
    let by_ids = cause.contains("behind the fence of green changed orders");
    ensure!(by_records || by_ids, "{cause}");

    let status = env
        .engine()
        .resolve("m", "open-source-target-is-down")
        .await?;
    is_in(&status, &State::RolledBack)?;
    let said = |message: &str| message.contains("by an operator's word, although");
    ensure!(
        status.entries.iter().any(|entry| said(&entry.message)),
        "{}",
        story(&status)
    );
    ensure!(rows(&env.pair.source, 1).await? == 1 && rows(&env.pair.source, 9).await? == 0);
    write(&env.pair.source, 1, 2).await
}

#[tokio::test(flavor = "multi_thread")]
async fn s20_a_target_that_refuses_the_control_role_leaves_the_source_serving() -> Result<()> {
    let env = TestEnvironment::new(Settings::default()).await?;
    env.started().await?;
    let marker = env.source_gate.hold_at("pg_logical_emit_message");
    let switch = env.begin_switch();
    marker.within(SOON).await?;
    let target = &env.pair.target;
    let superuser = target.client("postgres").await?;
    fs::write(
        target.data_folder().join("pg_hba.conf"),
        "host all all all reject\n",
    )?;
    superuser.batch_execute("SELECT pg_reload_conf()").await?;
    eventually("the target refuses", async || {
        Ok(target.client("postgres").await.is_err())
    })
    .await?;
    env.target_gate.sever();
    env.target_gate.restore();
    env.source_gate.release();
    let status = switch.await??;
    is_in(&status, &State::Undone)?;
    write(&env.pair.source, 1, 1).await
}

/// Looks at the source again and again, each on a session of its own, until dropped.
fn looks_at_source(provider: Arc<dyn DatabaseProvider>, source: Server) -> JoinSet<Result<()>> {
    let mut looks = JoinSet::new();
    looks.spawn(async move {
        loop {
            // The fence ends the one that another process has open.
            provider.clients(&source).await.ok();
            sleep(Duration::from_millis(5)).await;
        }
    });
    looks
}

#[tokio::test(flavor = "multi_thread")]
async fn who_only_looks_at_the_source_breaks_no_fence() -> Result<()> {
    let env = TestEnvironment::new(Settings::default()).await?;
    env.started().await?;
    let source = env.catalog().server(&"blue".parse()?).await?;
    let own = Arc::clone(&env.unpromotable_target().sql);
    let other = Arc::new(PostgresProvider::new(SecretSources::unrestricted()));
    let _looks = [
        looks_at_source(own, source.clone()),
        looks_at_source(other, source),
    ];
    let status = env.begin_switch().await??;
    let switched = matches!(status.migration.state(), State::Baking { .. });
    ensure!(switched, "{}", story(&status));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_stays_on_the_source_under_the_name_of_a_look_breaks_its_fence() -> Result<()> {
    let env = TestEnvironment::new(Settings::default()).await?;
    env.started().await?;
    let slots = env.target_gate.hold_at("pointsman_rb_1");
    let switch = env.begin_switch();
    slots.within(SOON).await?;
    let stays = env.pair.source.client("postgres").await?;
    stays
        .batch_execute("SET application_name = 'pointsman-preflight'")
        .await?;
    env.target_gate.release();
    let status = switch.await??;
    waits_for_an_operator(&status)?;
    let named = "a session is left: client backend pointsman-preflight of ";
    ensure!(story(&status).contains(named), "{}", story(&status));
    Ok(())
}
