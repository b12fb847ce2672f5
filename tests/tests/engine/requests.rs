//! What an operator may ask for, and when.

use std::time::Duration;

use anyhow::{Result, ensure};
use pointsman_catalog::{Declaration, OpenSessions};
use pointsman_cutover::{EngineError, ErrorKind, Settings, machine::State};
use pointsman_lab::postgres::start_stranger;
use tokio::time::sleep;

use super::{
    servers::write,
    support::{TestEnvironment, is_in, story},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_request_out_of_turn_is_refused_and_changes_nothing() -> Result<()> {
    let env = TestEnvironment::new(Settings::default()).await?;
    env.create("m", &[]).await?;
    let engine = env.engine();
    for refused in [
        engine.start("m").await,
        engine.switch("m").await,
        engine.rollback("m", true).await,
        engine.complete("m", false).await,
        engine.resolve("m", "open-source").await,
    ] {
        let Err(error) = refused else {
            anyhow::bail!("a planned migration took it");
        };
        ensure!(error.kind() == ErrorKind::Precondition, "{error}");
    }
    let error = engine.start("m").await.map(|_| ()).unwrap_err();
    ensure!(error.to_string().contains("migration preflight"), "{error}");
    ensure!(engine.status("m")?.migration.state() == State::Planned);

    let again = env.create("n", &[]).await.unwrap_err();
    let again = again.downcast::<EngineError>()?;
    ensure!(
        matches!(&again, EngineError::ServerTaken { migration, .. } if migration == "m"),
        "{again}"
    );
    let same = env.create("m", &[]).await.unwrap_err();
    ensure!(matches!(same.downcast()?, EngineError::Exists(_)));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_migration_leaves_nothing_and_frees_its_servers() -> Result<()> {
    let env = TestEnvironment::new(Settings::default()).await?;
    env.started().await?;
    let status = env.engine().cancel("m").await?;
    is_in(&status, &State::Cancelled)?;
    nothing_is_left(&env).await?;
    write(&env.pair.source, 1, 1).await?;
    env.create("n", &[]).await?;
    ensure!(
        env.engine()
            .preflight("n")
            .await?
            .blocking()
            .next()
            .is_none()
    );
    let status = env.engine().start("n").await?;
    is_in(&status, &State::Prepared)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancellation_waits_for_a_source_that_comes_back() -> Result<()> {
    let env = TestEnvironment::new(Settings::default()).await?;
    env.started().await?;
    env.pair.source.stop().await?;
    let cancelled = env.begin_cancel();
    env.pair.source.start().await?;
    is_in(&cancelled.await??, &State::Cancelled)?;
    nothing_is_left(&env).await
}

async fn nothing_is_left(env: &TestEnvironment) -> Result<()> {
    let source = env.pair.source.client("orders").await?;
    for left in [
        "SELECT count(*) FROM pg_publication",
        "SELECT count(*) FROM pg_namespace WHERE nspname = 'pointsman'",
    ] {
        ensure!(
            source.query_one(left, &[]).await?.get::<_, i64>(0) == 0,
            "{left}"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_no_replica_of_the_source_blocks() -> Result<()> {
    let env = TestEnvironment::new(Settings::default()).await?;
    let databases = ["orders".to_owned(), "billing".to_owned()];
    let stranger = start_stranger("stranger", env.folder(), &databases).await?;
    let at = stranger.address();
    let text = format!(
        "[servers.stranger]\nendpoint = \"{at}\"\ncontrol = \"host={} port={} user=postgres\"\n\
         fence = \"sql+hba\"\n",
        at.ip(),
        at.port()
    );
    let declared = Declaration::parse(&text, "stranger")?;
    env.catalog().apply(&declared, OpenSessions::Keep).await?;
    env.create_to("m", "stranger", &[]).await?;
    let report = env.engine().preflight("m").await?;
    let messages: Vec<_> = report
        .blocking()
        .map(|finding| finding.message.clone())
        .collect();
    ensure!(
        messages
            .iter()
            .any(|message| message.contains("system identifier")),
        "{messages:#?}"
    );
    let refused = env.engine().start("m").await;
    ensure!(
        matches!(&refused, Err(EngineError::Refused(message)) if message.contains("not passed")),
        "{refused:?}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preflight_that_is_too_old_lets_nobody_switch() -> Result<()> {
    let preflight_age = Duration::from_secs(2);
    let env = TestEnvironment::new(Settings {
        preflight_age,
        ..Settings::default()
    })
    .await?;
    env.started().await?;
    sleep(preflight_age).await;
    let refused = env.engine().switch("m").await;
    ensure!(
        matches!(&refused, Err(EngineError::Refused(message)) if message.contains("is older than 2s")),
        "{refused:?}"
    );
    is_in(&env.engine().status("m")?, &State::Prepared)?;
    env.engine().preflight("m").await?;
    let status = env.engine().switch("m").await?;
    let switched = matches!(status.migration.state(), State::Baking { .. });
    ensure!(switched, "{}", story(&status));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_are_left_on_the_old_writer_are_shown_until_they_end() -> Result<()> {
    let env = TestEnvironment::new(Settings::default()).await?;
    env.report_on_source(3);
    env.switched().await?;
    for (sessions, shown) in [(3, "3 sessions (app-1: 3)"), (0, "0 sessions")] {
        env.report_on_source(sessions);
        env.until(shown, |status| {
            let left = status.old_writer.as_ref();
            left.is_some_and(|left| left.to_string() == shown)
        })
        .await?;
    }
    Ok(())
}
