//! What the tests do to servers and read there.

use std::time::Duration;

use anyhow::{Result, ensure};
use pointsman_lab::postgres::PostgresServer;
use tokio::time::{Instant, sleep};

/// An application's write over a connection of its own.
pub(crate) async fn write(server: &PostgresServer, client: i32, number: i64) -> Result<()> {
    let session = server.client_as("app", "orders").await?;
    let sql = "INSERT INTO writes (client, number) VALUES ($1, $2)";
    session.execute(sql, &[&client, &number]).await?;
    Ok(())
}

/// How many different rows of `client` are on `server`.
pub(crate) async fn rows(server: &PostgresServer, client: i32) -> Result<i64> {
    let session = server.client("orders").await?;
    let sql = "SELECT count(DISTINCT number) FROM writes WHERE client = $1";
    Ok(session.query_one(sql, &[&client]).await?.get(0))
}

/// The server serves, and keeps nothing of a migration that has ended.
pub(crate) async fn nothing_is_left(server: &PostgresServer) -> Result<()> {
    let sql = "SELECT pubname::text FROM pg_publication \
               UNION ALL SELECT subname::text FROM pg_subscription \
               UNION ALL SELECT nspname::text FROM pg_namespace WHERE nspname = 'pointsman' \
               UNION ALL SELECT format('session %s', application_name) FROM pg_stat_activity \
                 WHERE application_name LIKE 'pointsman%'";
    for datname in ["postgres", "orders", "billing"] {
        let session = server.client(datname).await?;
        eventually("nothing is left of the migration", async || {
            Ok(session.query(sql, &[]).await?.is_empty())
        })
        .await?;
    }
    Ok(())
}

pub(crate) async fn is_standby(server: &PostgresServer) -> Result<bool> {
    let session = server.client("postgres").await?;
    let row = session.query_one("SELECT pg_is_in_recovery()", &[]).await?;
    Ok(row.get(0))
}

/// Asks again every few milliseconds until `holds`.
pub(crate) async fn eventually(what: &str, holds: impl AsyncFn() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + SOON;
    while !holds().await? {
        ensure!(Instant::now() < deadline, "never: {what}");
        sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}

/// What is to happen on a machine that is busy with other tests.
pub(crate) const SOON: Duration = Duration::from_secs(20);
