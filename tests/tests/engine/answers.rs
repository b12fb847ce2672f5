//! Three outcomes everywhere: yes, no, not known. And a source that an undo closes again is proved.

use anyhow::{Context, Result, ensure};
use pointsman_cutover::{EngineError, Settings, Status, machine::State};
use pointsman_lab::postgres::{Hosting, PostgresServer};

use super::{
    servers::{SOON, eventually, write},
    support::{TestEnvironment, is_in, is_whole, story},
};

#[tokio::test(flavor = "multi_thread")]
async fn s20_a_connect_that_never_reached_the_closed_server_is_no_refusal() -> Result<()> {
    let env = TestEnvironment::new(Settings::default()).await?;
    env.started().await?;
    let _knocks = env.source_gate.hold_at("pointsman-knock");
    let status = env.engine().switch("m").await?;
    is_in(&status, &State::Undone)?;
    ensure!(
        status.headline.contains("its word that") && status.headline.contains("no answer"),
        "{}",
        story(&status)
    );
    env.source_gate.release();
    write(&env.pair.source, 1, 1).await
}

/// Whether clients are let into `orders` as far as the database itself decides.
async fn allows_connections(server: &PostgresServer) -> Result<bool> {
    let postgres = server.client("postgres").await?;
    let sql = "SELECT datallowconn FROM pg_database WHERE datname = 'orders'";
    Ok(postgres.query_one(sql, &[]).await?.get(0))
}

#[tokio::test(flavor = "multi_thread")]
async fn s20_only_a_database_that_says_it_is_closed_is_entered_like_a_closed_one() -> Result<()> {
    let env = TestEnvironment::new(Settings::default()).await?;
    // At another level the rule would be taken away again.
    env.fence_by_sql_alone().await?;
    env.switched().await?;
    // The apply worker needs it open; a rule of somebody's refuses the engine there.
    ensure!(allows_connections(&env.pair.source).await?);
    let source = env.pair.source.client("postgres").await?;
    source
        .batch_execute(
            "COPY (SELECT 'host orders all 127.0.0.1/32 reject' UNION ALL \
               SELECT unnest(string_to_array(pg_read_file(current_setting('hba_file')), E'\\n'))) \
             TO PROGRAM 'cat > pg_hba.new && mv pg_hba.new pg_hba.conf'; SELECT pg_reload_conf(); \
             SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
               WHERE datname = 'orders' AND application_name LIKE 'pointsman/%'",
        )
        .await?;
    eventually("the rule is in force", async || {
        Ok(env.pair.source.client("orders").await.is_err())
    })
    .await?;
    match env.engine().rollback("m", false).await {
        Err(EngineError::Refused(message)) => {
            ensure!(message.contains("connecting to orders"), "{message}");
        }
        other => anyhow::bail!("{other:?}"),
    }
    ensure!(
        allows_connections(&env.pair.source).await?,
        "the source was closed because of a rule that refused the engine"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn s16_who_wrote_on_the_source_that_an_undo_closes_again_ends_the_lossless_way_back()
-> Result<()> {
    let mut env = TestEnvironment::new(Settings::default()).await?;
    if env.pair.source.hosting() == Hosting::Managed {
        return Ok(());
    }
    let source = env.pair.source.client("postgres").await?;
    source
        .batch_execute("CREATE ROLE dba SUPERUSER LOGIN")
        .await?;
    drop(source);
    env.switched().await?;
    // The rollback has given the login back; the databases are still limited to nobody.
    let caught = env.source_gate.hold_answer_to("ALTER ROLE \"dba\" LOGIN");
    let _rollback = env.begin_rollback(false);
    caught.within(SOON).await?;
    let writes = "INSERT INTO writes (client, number) VALUES (9, 1)";
    eventually("a superuser writes on the source", async || {
        let Ok(dba) = env.pair.source.client_as("dba", "orders").await else {
            return Ok(false);
        };
        Ok(dba.batch_execute(writes).await.is_ok())
    })
    .await?;
    env.kill().await?;
    env.source_gate.release();
    env.take_over().await?;
    // Ids say that somebody wrote, and not what.
    let gap = |status: &Status| {
        let message = &status.way_back.message;
        match status.reverse_stream() {
            "broken" => message.contains("transactions were committed on blue behind the fence"),
            "proven" => message.contains("that it loses nothing is not proven: "),
            _ => false,
        }
    };
    let status = env.until("what was written is named", gap).await?;
    ensure!(!status.way_back.lossless, "{:?}", status.way_back);
    write(&env.pair.target, 1, 1).await?;
    let refused = env.engine().rollback("m", false).await;
    let refused = refused.err().context("it went back")?.to_string();
    ensure!(
        refused.contains("would lose") || refused.contains("accept"),
        "{refused}"
    );
    ensure!(write(&env.pair.source, 1, 2).await.is_err());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn s16_a_source_that_nobody_wrote_on_is_closed_again_with_proof() -> Result<()> {
    let mut env = TestEnvironment::new(Settings::default()).await?;
    env.switched().await?;
    let caught = env.source_gate.hold_at("pg_conf_load_time");
    let _rollback = env.begin_rollback(false);
    if caught.within(SOON).await.is_err() {
        ensure!(env.pair.source.hosting() == Hosting::Managed);
        return Ok(());
    }
    env.kill().await?;
    // Silent at first: the target serves on, and the source is closed with proof once it answers.
    env.source_gate.sever();
    env.take_over().await?;
    let owed = |status: &Status| {
        matches!(status.migration.state(), State::Baking { .. })
            && status.way_back.message.contains("let superusers into blue")
    };
    let status = env.until("the closing is owed", owed).await?;
    ensure!(!status.way_back.lossless);
    write(&env.pair.target, 1, 1).await?;
    env.source_gate.restore();
    env.until("the source was looked at", is_whole).await?;
    is_in(
        &env.engine().rollback("m", false).await?,
        &State::RolledBack,
    )
}
