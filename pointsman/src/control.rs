//! Sessions of a server's control role, for probes outside a migration.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, anyhow};
use pointsman_catalog::{Conninfo, Server};
use tokio_postgres::{Client, Config, NoTls};

/// `server`'s control role in `datname`, at the server itself.
pub(crate) fn direct(server: &Server, datname: &str) -> anyhow::Result<Config> {
    let mut config = parse(&server.control)
        .with_context(|| format!("the control connection of server {}", server.name))?;
    config.dbname(datname);
    Ok(config)
}

/// `server`'s control role in `datname`, by way of the listener at `through`.
pub(crate) fn through(
    server: &Server,
    datname: &str,
    through: SocketAddr,
) -> anyhow::Result<Config> {
    let declared = direct(server, datname)?;
    // A fresh configuration, since hosts can only be added to one.
    let mut config = Config::new();
    config
        .host(through.ip().to_string())
        .port(through.port())
        .dbname(datname)
        .application_name(APPLICATION)
        .connect_timeout(CONNECT);
    if let Some(user) = declared.get_user() {
        config.user(user);
    }
    if let Some(password) = declared.get_password() {
        config.password(password);
    }
    Ok(config)
}

/// Connects, runs `work`, and drives the connection meanwhile; the session ends with it.
pub(crate) async fn run<T>(
    config: &Config,
    work: impl AsyncFnOnce(&Client) -> Result<T, tokio_postgres::Error>,
) -> anyhow::Result<T> {
    let (client, connection) = config.connect(NoTls).await?;
    tokio::select! {
        result = work(&client) => Ok(result?),
        ended = connection => match ended {
            Ok(()) => Err(anyhow!("the session was closed")),
            Err(error) => Err(error.into()),
        },
    }
}

/// The server's own words, with their code; else what the connection ran into.
pub(crate) fn words(error: &anyhow::Error) -> String {
    let said = error
        .downcast_ref::<tokio_postgres::Error>()
        .and_then(tokio_postgres::Error::as_db_error);
    match said {
        Some(said) => format!("{} ({})", said.message(), said.code().code()),
        None => format!("{error:#}"),
    }
}

fn parse(conninfo: &str) -> anyhow::Result<Config> {
    let conninfo = Conninfo::parse(conninfo)
        .and_then(Conninfo::with_password_read)
        .map_err(|words| anyhow!(words))?;
    let mut config: Config = conninfo
        .render()
        .parse()
        // The error names the key, never a value.
        .map_err(|error: tokio_postgres::Error| anyhow!("cannot be read: {error}"))?;
    config
        .application_name(APPLICATION)
        .connect_timeout(CONNECT);
    Ok(config)
}

/// Not the prefix of a migration's sessions, which its next leader ends.
const APPLICATION: &str = "pointsman-probe";
/// Of the TCP connect alone; callers bound the whole.
const CONNECT: Duration = Duration::from_secs(2);
