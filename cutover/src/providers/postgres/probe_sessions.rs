use std::net::SocketAddr;

use async_trait::async_trait;
use pointsman_catalog::Server;
use tokio_postgres::{Client, Config, error::SqlState};

use super::connection::{self, Failed};
use crate::ports::{ProbeError, ProbeSessions, ReadOnlyDefault, WriteAttempt};

/// Sessions of a server's control role, for probes outside a migration.
#[derive(Clone, Copy, Debug)]
pub(super) struct SqlProbeSessions;

#[async_trait]
impl ProbeSessions for SqlProbeSessions {
    async fn try_write(
        &self,
        server: &Server,
        datname: &str,
        default: ReadOnlyDefault,
    ) -> WriteAttempt {
        let mut config = match direct(server, datname) {
            Ok(config) => config,
            Err(ProbeError { message }) => return WriteAttempt::Unknown { reason: message },
        };
        if default == ReadOnlyDefault::Overridden {
            config.options("-c default_transaction_read_only=off");
        }
        match run(&config, async |client| {
            client.batch_execute(TRY_WRITE).await
        })
        .await
        {
            Ok(()) => WriteAttempt::Wrote,
            Err(Failed { code, message }) => judge(code.as_ref(), message),
        }
    }

    async fn write_row(
        &self,
        server: &Server,
        datname: &str,
        through: SocketAddr,
        value: i64,
    ) -> Result<(), ProbeError> {
        let config = by_way_of(&direct(server, datname)?, datname, through);
        let written = run(&config, async |client| {
            client.execute(WRITE_ROW, &[&value]).await.map(|_rows| ())
        });
        written
            .await
            .map_err(|Failed { message, .. }| ProbeError { message })
    }
}

fn judge(code: Option<&SqlState>, reason: String) -> WriteAttempt {
    let closed = [
        // The server is in recovery.
        &SqlState::READ_ONLY_SQL_TRANSACTION,
        // `datallowconn` is false.
        &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
        // There is no such database.
        &SqlState::INVALID_CATALOG_NAME,
    ];
    if code.is_some_and(|code| closed.contains(&code)) {
        WriteAttempt::CannotWrite { reason }
    } else {
        WriteAttempt::Unknown { reason }
    }
}

/// `server`'s control role in `datname`, at the server itself.
fn direct(server: &Server, datname: &str) -> Result<Config, ProbeError> {
    let config = connection::conninfo(server).and_then(|info| connection::config(server, &info));
    let mut config = config.map_err(|error| ProbeError {
        message: error.to_string(),
    })?;
    config.dbname(datname).application_name(APPLICATION);
    Ok(config)
}

/// The same role by way of the listener at `through`.
fn by_way_of(direct: &Config, datname: &str, through: SocketAddr) -> Config {
    // A fresh configuration, since hosts can only be added to one.
    let mut config = Config::new();
    config
        .host(through.ip().to_string())
        .port(through.port())
        .dbname(datname)
        .application_name(APPLICATION)
        .connect_timeout(connection::CONNECT);
    if let Some(user) = direct.get_user() {
        config.user(user);
    }
    if let Some(password) = direct.get_password() {
        config.password(password);
    }
    config
}

/// Connects, runs `work`, and drives the connection meanwhile; the session ends with it.
async fn run<T>(
    config: &Config,
    work: impl AsyncFnOnce(&Client) -> Result<T, tokio_postgres::Error>,
) -> Result<T, Failed> {
    let (client, connection) = connection::connect(config).await?;
    tokio::select! {
        result = work(&client) => Ok(result?),
        ended = connection => {
            ended?;
            Err(Failed {
                code: None,
                message: "the session was closed".to_owned(),
            })
        }
    }
}

/// Needs a transaction id and leaves nothing behind.
const TRY_WRITE: &str = "BEGIN; CREATE SCHEMA pointsman_flip_probe; ROLLBACK";
/// One row of its own, beside the engine's, in the table that set-up makes.
const WRITE_ROW: &str = "INSERT INTO pointsman.probe (id, value) VALUES (2, $1) \
                         ON CONFLICT (id) DO UPDATE SET value = excluded.value";
/// Not the prefix of a migration's sessions, which its next leader ends.
const APPLICATION: &str = "pointsman-probe";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_silent_is_not_proven_closed() {
        let attempt = judge(None, "connection refused".to_owned());
        assert!(
            matches!(attempt, WriteAttempt::Unknown { .. }),
            "{attempt:?}"
        );
    }

    #[test]
    fn a_server_in_recovery_cannot_be_written_to() {
        let code = SqlState::from_code("25006");
        let attempt = judge(Some(&code), "read only".to_owned());
        assert!(
            matches!(attempt, WriteAttempt::CannotWrite { .. }),
            "{attempt:?}"
        );
    }
}
