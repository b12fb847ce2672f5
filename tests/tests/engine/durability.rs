//! Commits that wait for standbys which a switch takes away.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pointsman_cutover::{
    Settings,
    machine::{Direction, State},
};
use pointsman_lab::postgres::{Hosting, PostgresServer, start_standby};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{
    servers::{SOON, eventually, rows, write},
    support::{TestEnvironment, is_in, story},
};

pub(super) async fn names(server: &PostgresServer) -> Result<String> {
    let session = server.client("postgres").await?;
    let sql = "SHOW synchronous_standby_names";
    Ok(session.query_one(sql, &[]).await?.get(0))
}

async fn wait_for(server: &PostgresServer, standbys: &str) -> Result<()> {
    let session = server.client("postgres").await?;
    let set = format!("ALTER SYSTEM SET synchronous_standby_names = '{standbys}'");
    session.batch_execute(&set).await?;
    session.execute("SELECT pg_reload_conf()", &[]).await?;
    eventually("the setting is in force", async || {
        Ok(names(server).await? == standbys)
    })
    .await
}

async fn writes(server: &PostgresServer, number: i64) -> Result<()> {
    let written = timeout(SOON, write(server, 1, number));
    written
        .await
        .with_context(|| format!("a commit on {} hangs", server.name()))?
}

#[tokio::test(flavor = "multi_thread")]
async fn s9_no_commit_waits_for_a_standby_that_the_switch_took_away() -> Result<()> {
    if Hosting::from_environment()? == Hosting::Managed {
        // There it blocks: the control role may not change the setting.
        return Ok(());
    }
    let mut env = TestEnvironment::new(Settings::default()).await?;
    wait_for(&env.pair.source, "green").await?;
    wait_for(&env.pair.target, "FIRST 1 (violet)").await?;
    writes(&env.pair.source, 1).await?;
    env.waive("S9")?;
    env.started().await?;
    let lines = env.engine().dry_run("m", Direction::Forward).await?;
    let emptied = "green: ALTER SYSTEM SET synchronous_standby_names = ''";
    ensure!(
        lines.iter().any(|line| line.contains(emptied)),
        "{lines:#?}"
    );
    let status = env.engine().switch("m").await?;
    println!("{}", story(&status));
    env.proven().await?;
    writes(&env.pair.target, 2).await?;
    ensure!(names(&env.pair.target).await?.is_empty());
    eventually("the stream delivers", async || {
        Ok(rows(&env.pair.source, 1).await? == 2)
    })
    .await?;
    let status = env.engine().rollback("m", false).await?;
    println!("{}", story(&status));
    is_in(&status, &State::RolledBack)?;
    writes(&env.pair.source, 3).await?;
    ensure!(names(&env.pair.target).await? == "FIRST 1 (violet)");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn s9_what_is_connected_is_waited_for_as_before() -> Result<()> {
    if Hosting::from_environment()? == Hosting::Managed {
        return Ok(());
    }
    let mut env = TestEnvironment::new(Settings::default()).await?;
    let _red = start_standby("red", env.folder(), &env.pair.source).await?;
    wait_for(&env.pair.source, "FIRST 1 (red)").await?;
    env.waive("S9")?;
    env.waive("S6=red")?;
    env.switched().await?;
    let status = env.engine().rollback("m", false).await?;
    println!("{}", story(&status));
    is_in(&status, &State::RolledBack)?;
    writes(&env.pair.source, 1).await?;
    ensure!(names(&env.pair.source).await? == "FIRST 1 (red)");
    Ok(())
}

/// Switched, with a setting of the target's own that was emptied. `None` where the control role may not
/// change it.
async fn emptied() -> Result<Option<TestEnvironment>> {
    if Hosting::from_environment()? == Hosting::Managed {
        return Ok(None);
    }
    let env = TestEnvironment::new(Settings::default()).await?;
    wait_for(&env.pair.target, "FIRST 1 (violet)").await?;
    env.switched().await?;
    ensure!(names(&env.pair.target).await?.is_empty());
    Ok(Some(env))
}

#[tokio::test(flavor = "multi_thread")]
async fn s9_what_was_emptied_is_set_again_once_its_standby_is_connected() -> Result<()> {
    let Some(env) = emptied().await? else {
        return Ok(());
    };
    let _violet = start_standby("violet", env.folder(), &env.pair.target).await?;
    let said = "commits on green wait for standbys again";
    let status = env
        .until("it is said", |status| {
            let mut entries = status.entries.iter();
            entries.any(|entry| entry.message.contains(said))
        })
        .await?;
    println!("{}", story(&status));
    ensure!(names(&env.pair.target).await? == "FIRST 1 (violet)");
    writes(&env.pair.target, 1).await
}

#[tokio::test(flavor = "multi_thread")]
async fn s9_a_setting_that_stays_empty_is_said_at_the_end() -> Result<()> {
    let Some(env) = emptied().await? else {
        return Ok(());
    };
    let status = env.engine().complete("m", false).await?;
    is_in(&status, &State::Completed)?;
    let said = "synchronous_standby_names on green is empty and was 'FIRST 1 (violet)'";
    ensure!(story(&status).contains(said), "{}", story(&status));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn s9_a_role_without_superuser_changes_the_setting_where_that_is_granted() -> Result<()> {
    let env = without_superuser().await?;
    env.switched().await?;
    ensure!(names(&env.pair.target).await?.is_empty());
    writes(&env.pair.target, 1).await?;
    let status = env.engine().rollback("m", false).await?;
    is_in(&status, &State::RolledBack)?;
    ensure!(names(&env.pair.target).await? == "FIRST 1 (violet)");
    writes(&env.pair.source, 2).await
}

/// A slot waits for the transactions that are under way, and the owner of a database that cannot be closed
/// may commit at any time.
#[tokio::test(flavor = "multi_thread")]
async fn s9_no_slot_waits_for_a_commit_that_waits_for_a_standby() -> Result<()> {
    let env = without_superuser().await?;
    env.started().await?;
    let owner = env.pair.target.client_as("rdsadmin", "rdsadmin").await?;
    let mut busy = JoinSet::new();
    busy.spawn(async move {
        loop {
            // A standby refuses it.
            let beat = "UPDATE heartbeat SET at = clock_timestamp()";
            if owner.execute(beat, &[]).await.is_err() {
                sleep(Duration::from_millis(1)).await;
            }
        }
    });
    let status = env.engine().switch("m").await?;
    ensure!(
        matches!(status.migration.state(), State::Baking { .. }),
        "{}",
        story(&status)
    );
    Ok(())
}

/// A control role without superuser may change the setting, and the target's commits want a standby that
/// is not there.
async fn without_superuser() -> Result<TestEnvironment> {
    let env = TestEnvironment::without_superuser_on(17, Settings::default()).await?;
    let dba = env.pair.source.client("postgres").await?;
    for grant in [
        "GRANT ALTER SYSTEM ON PARAMETER synchronous_standby_names TO master",
        "GRANT EXECUTE ON FUNCTION pg_reload_conf() TO master",
    ] {
        dba.batch_execute(grant).await?;
    }
    drop(dba);
    wait_for(&env.pair.target, "FIRST 1 (violet)").await?;
    let target = env.pair.target.client("postgres").await?;
    let granted = "SELECT has_function_privilege('master', 'pg_reload_conf()', 'EXECUTE')";
    eventually("the target has the grant", async || {
        Ok(target.query_one(granted, &[]).await?.get(0))
    })
    .await?;
    drop(target);
    Ok(env)
}
