//! The server that was left, watched once the migration has ended.

use anyhow::{Result, ensure};
use pointsman_cutover::{
    Settings, Status,
    machine::{Side, State},
    ports::ProofMethod,
};
use pointsman_lab::postgres::{Hosting, PostgresServer};
use tokio::time::Instant;

use super::{
    servers::{SOON, eventually, write},
    support::{TestEnvironment, is_in, story},
};

/// Somebody opens `orders` on `server`, and writes there before it is shut.
async fn opened_and_written(server: &PostgresServer) -> Result<String> {
    let open = match server.hosting() {
        Hosting::SelfManaged => "ALTER DATABASE orders ALLOW_CONNECTIONS true CONNECTION LIMIT -1",
        Hosting::Managed => {
            "ALTER DATABASE orders ALLOW_CONNECTIONS true CONNECTION LIMIT -1; \
             GRANT CONNECT ON DATABASE orders TO PUBLIC"
        }
    };
    let sql = "INSERT INTO writes (id, client, number) OVERRIDING SYSTEM VALUE \
               VALUES (-77, 77, 77) RETURNING pg_current_xact_id()::text";
    let deadline = Instant::now() + SOON;
    loop {
        let written = async {
            server.client("postgres").await?.batch_execute(open).await?;
            let session = server.client("orders").await?;
            let row = session.query_one(sql, &[]).await?;
            Ok::<_, anyhow::Error>(row.get(0))
        };
        match written.await {
            Ok(xid) => return Ok(xid),
            // It was closed again, and its sessions ended.
            Err(_shut) if Instant::now() < deadline => {}
            Err(error) => return Err(error),
        }
    }
}

/// It is named in the headline and in the journal, and closed again.
async fn is_named(env: &TestEnvironment, server: &PostgresServer, xid: &str) -> Result<()> {
    let named = format!("{xid} in orders");
    let facts = env.engine().status("m")?.migration.facts;
    let said = match facts.proved_by(Side::Source) {
        Some(ProofMethod::TransactionIds) => "whether somebody wrote there cannot be read",
        Some(ProofMethod::WalRecords) | None => &named,
    };
    let is_said = |status: &Status| status.headline.contains(said);
    let status = env.until(&format!("{said} is said"), is_said).await?;
    ensure!(
        status.headline.contains("database orders is open"),
        "{}",
        status.headline
    );
    ensure!(story(&status).contains(said), "{}", story(&status));
    eventually("it is closed again", async || {
        Ok(write(server, 78, 1).await.is_err())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn s5_who_opens_the_target_behind_a_rollback_is_named_and_shut_out() -> Result<()> {
    let mut env = TestEnvironment::new(Settings::default()).await?;
    env.switched().await?;
    let status = env.engine().rollback("m", false).await?;
    is_in(&status, &State::RolledBack)?;
    let target = env.pair.target.clone();
    let xid = opened_and_written(&target).await?;
    is_named(&env, &target, &xid).await?;
    // The next process knows it, too.
    env.kill().await?;
    env.take_over().await?;
    is_named(&env, &target, &xid).await
}

#[tokio::test(flavor = "multi_thread")]
async fn s5_who_opens_the_source_behind_a_completion_is_named_and_shut_out() -> Result<()> {
    let env = TestEnvironment::new(Settings::default()).await?;
    env.switched().await?;
    let status = env.engine().complete("m", false).await?;
    is_in(&status, &State::Completed)?;
    ensure!(
        !status.headline.contains("left alone"),
        "{}",
        status.headline
    );
    let xid = opened_and_written(&env.pair.source).await?;
    is_named(&env, &env.pair.source, &xid).await
}

/// Nobody fights over a server that is somebody else's by now.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_fence_was_taken_away_is_let_go() -> Result<()> {
    let env = TestEnvironment::new(Settings::default()).await?;
    env.switched().await?;
    env.engine().complete("m", false).await?;
    let admin = env.pair.source.client("postgres").await?;
    admin
        .batch_execute(
            "DELETE FROM pointsman.fence; \
             ALTER DATABASE orders ALLOW_CONNECTIONS true CONNECTION LIMIT -1",
        )
        .await?;
    let let_go = |status: &Status| status.headline.contains("blue carries no fence any more");
    env.until("it is let go", let_go).await?;
    let open = "SELECT datallowconn FROM pg_database WHERE datname = 'orders'";
    ensure!(admin.query_one(open, &[]).await?.get::<_, bool>(0));
    let status = env.engine().status("m")?;
    ensure!(
        !status.headline.contains("left alone"),
        "{}",
        status.headline
    );
    Ok(())
}

/// The engine itself had opened it to the reverse stream.
#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_comes_back_behind_a_completion_without_it_is_closed_then() -> Result<()> {
    let env = TestEnvironment::new(Settings::default()).await?;
    env.switched().await?;
    env.source_gate.sever();
    let status = env.engine().complete("m", true).await?;
    is_in(&status, &State::Completed)?;
    ensure!(
        status.headline.contains("blue is left as it was"),
        "{}",
        status.headline
    );
    env.source_gate.restore();
    let is_back = |status: &Status| {
        status
            .headline
            .contains("it came back as it was in the bake")
    };
    let status = env.until("it is said that it came back", is_back).await?;
    ensure!(
        status.headline.contains("blue is closed and kept") && !status.headline.contains("is open"),
        "{}",
        status.headline
    );
    let admin = env.pair.source.client("postgres").await?;
    let open = "SELECT datallowconn FROM pg_database WHERE datname = 'orders'";
    eventually("it is closed", async || {
        Ok(!admin.query_one(open, &[]).await?.get::<_, bool>(0))
    })
    .await
}
