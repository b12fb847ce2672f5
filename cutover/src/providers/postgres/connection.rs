//! Connections to a server: the only place that names the driver's way of connecting.

use std::time::Duration;

use pointsman_catalog::{Conninfo, Server};
use tokio::time::timeout;
use tokio_postgres::{
    Client, Config, Connection, NoTls, Socket, error::SqlState, tls::NoTlsStream,
};

use crate::ports::{ConnectionAttempt, ProviderError};

/// How the server answers one more connection over TCP, which is closed at once. A control
/// string that names a Unix socket says nothing about what applications meet, so the
/// endpoint stands in for it.
pub(super) async fn try_connect(
    server: &Server,
    datname: &str,
    user: Option<&str>,
) -> Result<ConnectionAttempt, ProviderError> {
    let mut info = conninfo(server)?;
    if info.get("host").is_none_or(|host| host.starts_with('/')) && info.get("hostaddr").is_none() {
        info = info
            .with("host", server.endpoint.host())
            .with("port", &server.endpoint.port().to_string());
    }
    if let Some(user) = user {
        info = info.with("user", user);
    }
    let mut config = config(server, &info)?;
    config.dbname(datname).application_name("pointsman-knock");
    Ok(match timeout(CONNECT, connect(&config)).await {
        Ok(Ok(_connected)) => ConnectionAttempt::Accepted,
        Ok(Err(error)) => match error.as_db_error() {
            Some(db) => ConnectionAttempt::Refused {
                sqlstate: db.code().code().to_owned(),
                message: db.message().to_owned(),
            },
            None => ConnectionAttempt::Unreachable {
                reason: chain(&error),
            },
        },
        Err(_elapsed) => ConnectionAttempt::Unreachable {
            reason: format!("no answer within {CONNECT:?}"),
        },
    })
}

/// The one place that opens a connection.
pub(super) async fn connect(
    config: &Config,
) -> Result<(Client, Connection<Socket, NoTlsStream>), tokio_postgres::Error> {
    config.connect(NoTls).await
}

/// Why a statement or a connection failed: the server's message with its code, else what the
/// connection ran into.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) code: Option<SqlState>,
    pub(super) message: String,
}

impl From<tokio_postgres::Error> for Failed {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(said) => Self {
                code: Some(said.code().clone()),
                message: format!("{} ({})", said.message(), said.code().code()),
            },
            None => Self {
                code: None,
                message: chain(&error),
            },
        }
    }
}

/// The control role's connection parameters, with its password.
pub(super) fn conninfo(server: &Server) -> Result<Conninfo, ProviderError> {
    Conninfo::parse(&server.control)
        .map_err(|reason| format!("its `control` string is malformed: {reason}"))
        .and_then(Conninfo::with_password_read)
        .map_err(|reason| unfit(server, reason))
}

pub(super) fn config(server: &Server, info: &Conninfo) -> Result<Config, ProviderError> {
    let mut config: Config = info.render().parse().map_err(|error| {
        let reason = chain(&error);
        unfit(
            server,
            format!("its `control` string is malformed: {reason}"),
        )
    })?;
    config.connect_timeout(CONNECT);
    Ok(config)
}

fn unfit(server: &Server, reason: String) -> ProviderError {
    ProviderError::Unfit {
        server: server.name.clone(),
        reason,
    }
}

/// The `user` of a libpq string.
pub(super) fn user_in(conninfo: &str) -> Option<String> {
    let info = Conninfo::parse(conninfo).ok()?;
    info.get("user").map(str::to_owned)
}

pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        message = format!("{message}: {cause}");
        source = cause.source();
    }
    message
}

/// A server in the same region accepts within milliseconds.
pub(super) const CONNECT: Duration = Duration::from_secs(2);
