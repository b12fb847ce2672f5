//! One connection, bounded in every wait.

use std::time::Duration;

use pointsman_catalog::{Server, ServerName};
use tokio::{task::JoinSet, time::timeout};
use tokio_postgres::{
    Client, Config, NoTls, Row, SimpleQueryMessage, error::SqlState, types::ToSql,
};

use crate::ports::{ControlId, ProviderError};

/// Parameters of a statement.
pub(super) type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

/// What a session is for; decides its name and settings on the server.
#[derive(Clone, Debug)]
pub(super) enum Purpose {
    /// Drives a switch.
    Control(ControlId),
    /// Reads for checks, and may change nothing.
    Preflight,
    /// Reads or takes back a fence without any store.
    Recovery,
}

impl Purpose {
    pub(super) fn application_name(&self) -> String {
        match self {
            Self::Control(control) => format!("{}{}", control_prefix(control), control.epoch),
            Self::Preflight => "pointsman-preflight".to_owned(),
            Self::Recovery => "pointsman-recover".to_owned(),
        }
    }

    /// Server settings of the session. An effect must not wait for a standby that this very
    /// switch makes go away, nor be stopped by a read-only default, and the names in its
    /// statements are PostgreSQL's own.
    fn options(&self) -> &'static str {
        match self {
            Self::Control(_) | Self::Recovery => {
                "-c synchronous_commit=local -c default_transaction_read_only=off \
                 -c search_path=pg_catalog -c statement_timeout=10s -c lock_timeout=3s \
                 -c idle_session_timeout=0 -c idle_in_transaction_session_timeout=10s"
            }
            Self::Preflight => {
                "-c search_path=pg_catalog -c row_security=off -c statement_timeout=5s \
                 -c lock_timeout=100ms -c default_transaction_read_only=on"
            }
        }
    }
}

/// The part of a control session's `application_name` before its epoch.
pub(super) fn control_prefix(control: &ControlId) -> String {
    format!("pointsman/{}/", control.migration)
}

/// An open connection. Dropping it closes the connection.
#[derive(Debug)]
pub(super) struct Session {
    client: Client,
    server: ServerName,
    pub(super) pid: i32,
    _connection: JoinSet<()>,
}

impl Session {
    /// Connects to `datname` on `server`.
    pub(super) async fn open(
        server: &Server,
        datname: &str,
        purpose: &Purpose,
    ) -> Result<Self, ProviderError> {
        let mut config = config(server)?;
        config
            .dbname(datname)
            .application_name(purpose.application_name())
            .options(purpose.options());
        let (client, connection) = match timeout(CONNECT, config.connect(NoTls)).await {
            Ok(Ok(connected)) => connected,
            Ok(Err(error)) => return Err(connect_error(&server.name, datname, &error)),
            Err(_elapsed) => {
                return Err(ProviderError::Unreachable {
                    server: server.name.clone(),
                    words: format!("no connection to {datname} within {CONNECT:?}"),
                });
            }
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            // The client's own calls report why the connection ended.
            let _ = connection.await;
        });
        let mut session = Self {
            client,
            server: server.name.clone(),
            pid: 0,
            _connection: tasks,
        };
        let row = session
            .row("read its own pid", "SELECT pg_backend_pid()", &[])
            .await?;
        session.pid = row.get(0);
        Ok(session)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    pub(super) fn server(&self) -> &ServerName {
        &self.server
    }

    /// The rows of one statement.
    pub(super) async fn rows(
        &self,
        what: &str,
        sql: &str,
        params: Params<'_>,
    ) -> Result<Vec<Row>, ProviderError> {
        self.bounded(what, self.client.query(sql, params)).await
    }

    /// The one row of a statement.
    pub(super) async fn row(
        &self,
        what: &str,
        sql: &str,
        params: Params<'_>,
    ) -> Result<Row, ProviderError> {
        self.bounded(what, self.client.query_one(sql, params)).await
    }

    /// Statements without parameters, separated by semicolons, in one round trip; the first
    /// column of every row they return.
    pub(super) async fn batch(&self, what: &str, sql: &str) -> Result<Vec<String>, ProviderError> {
        let messages = self.bounded(what, self.client.simple_query(sql)).await?;
        Ok(messages
            .into_iter()
            .filter_map(|message| match message {
                SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
                _ => None,
            })
            .collect())
    }

    /// `statements` in one transaction and one round trip. Returns its transaction id as WAL
    /// records carry it.
    pub(super) async fn transaction(
        &self,
        what: &str,
        statements: &[String],
    ) -> Result<u64, ProviderError> {
        let sql = format!(
            "BEGIN; SELECT pg_current_xact_id()::xid::text; {}; COMMIT",
            statements.join("; ")
        );
        match self.batch(what, &sql).await {
            Ok(rows) => Ok(rows.first().and_then(|xid| xid.parse().ok()).unwrap_or(0)),
            Err(error) => {
                // A failed statement leaves the session inside the aborted transaction.
                self.batch("roll back", "ROLLBACK").await?;
                Err(error)
            }
        }
    }

    async fn bounded<T>(
        &self,
        what: &str,
        statement: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, ProviderError> {
        match timeout(STATEMENT, statement).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(self.statement_error(what, &error)),
            Err(_elapsed) => Err(ProviderError::Unreachable {
                server: self.server.clone(),
                words: format!("could not {what}: no answer within {STATEMENT:?}"),
            }),
        }
    }

    fn statement_error(&self, what: &str, error: &tokio_postgres::Error) -> ProviderError {
        let server = self.server.clone();
        match error.as_db_error() {
            // The session was ended from outside, or the server is going down.
            Some(db)
                if *db.code() == SqlState::ADMIN_SHUTDOWN
                    || *db.code() == SqlState::CRASH_SHUTDOWN =>
            {
                ProviderError::Unreachable {
                    server,
                    words: format!("could not {what}: {}", db.message()),
                }
            }
            Some(db) => ProviderError::Failed {
                server,
                what: what.to_owned(),
                words: format!("{} ({})", db.message(), db.code().code()),
            },
            None => ProviderError::Unreachable {
                server,
                words: format!("could not {what}: {}", chain(error)),
            },
        }
    }
}

/// How the server answers one more connection, which is closed at once.
pub(super) async fn knock(
    server: &Server,
    datname: &str,
    user: Option<&str>,
) -> Result<crate::ports::Refusal, ProviderError> {
    use crate::ports::Refusal;
    let mut config = config(server)?;
    config.dbname(datname).application_name("pointsman-knock");
    if let Some(user) = user {
        config.user(user);
    }
    Ok(match timeout(CONNECT, config.connect(NoTls)).await {
        Ok(Ok(_connected)) => Refusal::Accepted,
        Ok(Err(error)) => match error.as_db_error() {
            Some(db) => Refusal::Refused {
                sqlstate: db.code().code().to_owned(),
                words: db.message().to_owned(),
            },
            None => Refusal::Unreachable {
                words: chain(&error),
            },
        },
        Err(_elapsed) => Refusal::Unreachable {
            words: format!("no answer within {CONNECT:?}"),
        },
    })
}

/// The control role's connection parameters. `passfile=PATH` is ours: the file's first line
/// is the password.
fn config(server: &Server) -> Result<Config, ProviderError> {
    let unfit = |words: String| ProviderError::Unfit {
        server: server.name.clone(),
        words,
    };
    let (passfile, rest): (Vec<_>, Vec<_>) = server
        .control
        .split_whitespace()
        .partition(|pair| pair.starts_with(PASSFILE));
    let mut config: Config = rest.join(" ").parse().map_err(|error| {
        unfit(format!(
            "its `control` string is malformed: {}",
            chain(&error)
        ))
    })?;
    if let Some(path) = passfile
        .first()
        .and_then(|pair| pair.strip_prefix(PASSFILE))
    {
        let password = std::fs::read_to_string(path)
            .map_err(|error| unfit(format!("the password file {path} cannot be read: {error}")))?;
        config.password(password.lines().next().unwrap_or_default());
    }
    config.connect_timeout(CONNECT);
    Ok(config)
}

/// The role of the control sessions.
pub(super) fn control_role(server: &Server) -> Option<String> {
    user_in(&server.control)
}

/// The `user=` of a libpq string.
pub(super) fn user_in(conninfo: &str) -> Option<String> {
    conninfo
        .split_whitespace()
        .find_map(|pair| pair.strip_prefix("user="))
        .map(str::to_owned)
}

fn connect_error(
    server: &ServerName,
    datname: &str,
    error: &tokio_postgres::Error,
) -> ProviderError {
    match error.as_db_error() {
        Some(db) if *db.code() != SqlState::CANNOT_CONNECT_NOW => ProviderError::Failed {
            server: server.clone(),
            what: format!("connecting to {datname}"),
            words: format!("{} ({})", db.message(), db.code().code()),
        },
        _ => ProviderError::Unreachable {
            server: server.clone(),
            words: format!("cannot connect to {datname}: {}", chain(error)),
        },
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        words = format!("{words}: {cause}");
        source = cause.source();
    }
    words
}

const PASSFILE: &str = "passfile=";
/// A server in the same region accepts within milliseconds.
const CONNECT: Duration = Duration::from_secs(2);
/// Longer than every statement's own `statement_timeout` would be pointless inside a hold;
/// shorter than a hold, so that an undo fits behind it.
const STATEMENT: Duration = Duration::from_secs(4);
