//! What a cloud's superuser does on a managed server by itself.

use std::{convert::Infallible, time::Duration};

use anyhow::Result;
use tokio::{task::JoinSet, time::sleep};

use super::session::connect;

/// RDS writes every few minutes; here a switch is to meet one.
const EVERY: Duration = Duration::from_secs(1);

/// How soon a session that ended is opened again.
const AGAIN: Duration = Duration::from_millis(200);

/// SQL that runs in the superuser's own database.
pub(super) const SCHEMA: &str =
    "CREATE TABLE heartbeat (at timestamptz NOT NULL); INSERT INTO heartbeat VALUES (now())";

/// Keeps a session open that writes whenever the server takes writes, until it is dropped.
pub(super) fn start(conninfo: String) -> JoinSet<()> {
    let mut task = JoinSet::new();
    task.spawn(async move {
        loop {
            let Err(error) = beat(&conninfo).await;
            tracing::debug!(%error, "a heartbeat's session ended");
            sleep(AGAIN).await;
        }
    });
    task
}

async fn beat(conninfo: &str) -> Result<Infallible> {
    let session = connect(conninfo).await?;
    loop {
        let row = session.query_one("SELECT pg_is_in_recovery()", &[]).await?;
        if !row.get::<_, bool>(0) {
            session
                .execute("UPDATE heartbeat SET at = clock_timestamp()", &[])
                .await?;
        }
        sleep(EVERY).await;
    }
}
