use std::net::SocketAddr;

use async_trait::async_trait;
use pointsman_catalog::Server;
use tokio_postgres::{Client, error::SqlState};

use super::connection::{ConnectError, Connected, Connector, Login, Way, chain};
use crate::ports::{ProbeError, ProbeSessions, ReadOnlyDefault, WriteAttempt};

/// Sessions of a server's control role, or of its probe role, outside of any migration.
#[derive(Clone, Debug, Default)]
pub(super) struct SqlProbeSessions {
    connector: Connector,
}

impl SqlProbeSessions {
    pub(super) fn new(connector: Connector) -> Self {
        Self { connector }
    }

    async fn connect(
        &self,
        server: &Server,
        datname: &str,
        options: &str,
        way: Way,
    ) -> Result<Connected, Failed> {
        let login = Login {
            datname,
            application_name: APPLICATION,
            options,
            stranger: None,
            way,
        };
        Ok(self.connector.connect(server, &login).await?)
    }
}

#[async_trait]
impl ProbeSessions for SqlProbeSessions {
    async fn try_write(
        &self,
        server: &Server,
        datname: &str,
        default: ReadOnlyDefault,
    ) -> WriteAttempt {
        let options = match default {
            ReadOnlyDefault::Overridden => "-c default_transaction_read_only=off",
            ReadOnlyDefault::Respected => "",
        };
        let tried = async {
            let connected = self.connect(server, datname, options, Way::Direct).await?;
            run(connected, async |client| {
                client.batch_execute(TRY_WRITE).await
            })
            .await
        };
        match tried.await {
            Ok(()) => WriteAttempt::Wrote,
            Err(Failed { code, message }) => judge(code.as_ref(), message),
        }
    }

    fn probe_login(&self, server: &Server, datname: &str) -> Result<(), String> {
        self.connector.probe_login(server, datname)
    }

    async fn write_row(
        &self,
        server: &Server,
        datname: &str,
        through: SocketAddr,
        value: i64,
    ) -> Result<(), ProbeError> {
        let written = async {
            let way = Way::Through(through);
            let probed = self.connector.probed(server);
            let probed = probed.map_err(ConnectError::Unfit)?;
            let connected = self.connect(&probed, datname, "", way).await?;
            run(connected, async |client| {
                client.execute(WRITE_ROW, &[&value]).await.map(|_rows| ())
            })
            .await
        };
        written
            .await
            .map_err(|Failed { message, .. }| ProbeError { message })
    }
}

/// Why a statement or a connection failed: the server's message with its code, else what the
/// connection ran into.
#[derive(Debug)]
struct Failed {
    code: Option<SqlState>,
    message: String,
}

impl From<ConnectError> for Failed {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Refused { code, message, .. } => Self::said(code, &message),
            ConnectError::Unfit(message) | ConnectError::Unreachable(message) => Self {
                code: None,
                message,
            },
        }
    }
}

impl From<tokio_postgres::Error> for Failed {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(said) => Self::said(said.code().clone(), said.message()),
            None => Self {
                code: None,
                message: chain(&error),
            },
        }
    }
}

impl Failed {
    fn said(code: SqlState, message: &str) -> Self {
        Self {
            message: format!("{message} ({})", code.code()),
            code: Some(code),
        }
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

/// Runs `work`, and drives the connection meanwhile; the session ends with it.
async fn run<T>(
    (client, connection): Connected,
    work: impl AsyncFnOnce(&Client) -> Result<T, tokio_postgres::Error>,
) -> Result<T, Failed> {
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
