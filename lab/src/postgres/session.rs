//! Sessions of the lab's own.

use std::{ops::Deref, time::Duration};

use anyhow::{Context, Result};
use tokio::{task::JoinSet, time::timeout};
use tokio_postgres::{Client, NoTls};

pub(super) const CONNECT_DEADLINE: Duration = Duration::from_secs(10);

/// A session of the lab's own; it ends on drop.
#[derive(Debug)]
pub struct Session {
    client: Client,
    // Drives the connection.
    _driver: JoinSet<()>,
}

impl Deref for Session {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

/// Opens a session of the lab's own.
pub async fn connect(conninfo: &str) -> Result<Session> {
    let mut config: tokio_postgres::Config = conninfo.parse()?;
    config.application_name("lab");
    let (client, connection) = timeout(CONNECT_DEADLINE, config.connect(NoTls))
        .await
        .with_context(|| format!("no answer within {CONNECT_DEADLINE:?}"))??;
    let mut driver = JoinSet::new();
    driver.spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a session of the lab's ended");
        }
    });
    Ok(Session {
        client,
        _driver: driver,
    })
}
