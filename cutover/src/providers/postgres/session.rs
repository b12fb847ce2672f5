//! One session, bounded in every wait.

mod purpose;

use std::{
    collections::BTreeMap,
    pin::pin,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures_util::SinkExt as _;
use pointsman_catalog::{Secret, Server, ServerName};
use tokio::{
    task::{AbortHandle, JoinSet},
    time::timeout,
};
use tokio_postgres::{Client, Row, SimpleQueryMessage, Statement, error::SqlState, types::ToSql};

use super::{
    connection::{ConnectError, Connected, Connector, Login, Way, chain},
    own_looks::OwnLook,
    own_transaction::own_transaction,
};
use crate::ports::{ProviderError, Tried};
pub(super) use purpose::{PASSING, Purpose, control_prefix};

/// Parameters of a statement.
pub(super) type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

/// An open connection. Dropping it closes the connection.
#[derive(Debug)]
pub(super) struct Session {
    client: Client,
    server: ServerName,
    pub(super) pid: i32,
    /// When the server was started: tells servers of one system identifier apart.
    pub(super) server_started: String,
    /// Prepared statements by their text, so that a poll costs one round trip and not two.
    prepared: Mutex<BTreeMap<String, Statement>>,
    connection: AbortHandle,
    _tasks: JoinSet<()>,
    _look: Option<OwnLook>,
}

impl Session {
    /// Connects to `datname` on `server`.
    pub(super) async fn open(
        connector: &Connector,
        server: &Server,
        datname: &str,
        purpose: &Purpose,
    ) -> Result<Self, ProviderError> {
        let login = Login {
            datname,
            application_name: &purpose.application_name(),
            options: purpose.options(),
            stranger: None,
            way: Way::Direct,
        };
        let connected = connector.connect(server, &login).await;
        let connected = connected.map_err(|error| connect_error(&server.name, datname, error))?;
        let mut session = Self::over(&server.name, connected).await?;
        session._look = purpose
            .only_reads()
            .then(|| connector.looks.enter(&session.server_started, session.pid));
        Ok(session)
    }

    /// The session of a connection to `server`.
    pub(super) async fn over(
        server: &ServerName,
        (client, connection): Connected,
    ) -> Result<Self, ProviderError> {
        let mut tasks = JoinSet::new();
        let connection = tasks.spawn(async move {
            // The client's own calls report why the connection ended.
            let _ = connection.await;
        });
        let mut session = Self {
            client,
            server: server.clone(),
            pid: 0,
            server_started: String::new(),
            prepared: Mutex::default(),
            connection,
            _tasks: tasks,
            _look: None,
        };
        let row = session.row("read its own pid", OWN, &[]).await?;
        session.pid = row.get(0);
        session.server_started = row.get(1);
        Ok(session)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    pub(super) fn server(&self) -> &ServerName {
        &self.server
    }

    /// The rows of one statement, which stays prepared: for the engine's own texts, of which
    /// there are few.
    pub(super) async fn rows(
        &self,
        what: &str,
        sql: &str,
        params: Params<'_>,
    ) -> Result<Vec<Row>, ProviderError> {
        let statement = self.prepare(what, sql).await?;
        self.bounded(what, self.client.query(&statement, params))
            .await
    }

    /// The one row of a statement, as [`Self::rows`].
    pub(super) async fn row(
        &self,
        what: &str,
        sql: &str,
        params: Params<'_>,
    ) -> Result<Row, ProviderError> {
        let statement = self.prepare(what, sql).await?;
        self.bounded(what, self.client.query_one(&statement, params))
            .await
    }

    /// The rows of a statement that is not the engine's own.
    pub(super) async fn rows_once(&self, what: &str, sql: &str) -> Result<Vec<Row>, ProviderError> {
        self.bounded(what, self.client.query(sql, &[])).await
    }

    /// Prepares `sql`, so that its first use inside the pause costs no parse.
    pub(super) async fn prepare(&self, what: &str, sql: &str) -> Result<Statement, ProviderError> {
        let known = self.known_statements().get(sql).cloned();
        if let Some(statement) = known {
            return Ok(statement);
        }
        let statement = self.bounded(what, self.client.prepare(sql)).await?;
        self.known_statements()
            .insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    fn known_statements(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Statement>> {
        self.prepared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Statements without parameters, separated by semicolons, in one round trip; the first
    /// column of every row they return.
    pub(super) async fn batch(&self, what: &str, sql: &str) -> Result<Vec<String>, ProviderError> {
        let messages = self.bounded(what, self.client.simple_query(sql)).await?;
        Ok(messages
            .into_iter()
            .filter_map(|message| {
                let SimpleQueryMessage::Row(row) = message else {
                    return None;
                };
                row.get(0).map(str::to_owned)
            })
            .collect())
    }

    /// One statement whose end is the server's refusal with `code`.
    pub(super) async fn refused(
        &self,
        what: &str,
        sql: &str,
        code: &SqlState,
    ) -> Result<(), ProviderError> {
        let answer = async {
            match self.client.simple_query(sql).await {
                Ok(_) => Ok(false),
                Err(error) if error.code() == Some(code) => Ok(true),
                Err(error) => Err(error),
            }
        };
        if self.bounded(what, answer).await? {
            return Ok(());
        }
        Err(ProviderError::Failed {
            server: self.server.clone(),
            what: what.to_owned(),
            reason: format!("it was not refused with {}", code.code()),
        })
    }

    /// `statements` in one transaction and one round trip, which notes that it is the engine's
    /// own.
    pub(super) async fn transaction(
        &self,
        what: &str,
        statements: &[String],
    ) -> Result<(), ProviderError> {
        let mut noted = vec![own_transaction(what)];
        noted.extend_from_slice(statements);
        self.block(what, &noted).await?;
        Ok(())
    }

    /// Runs `begin`, sends `secret` behind a padding as the one row of `copy`, and runs `finish`: a server
    /// logs statements and their parameters, and not what is copied. The session ends with it.
    pub(super) async fn with_secret(
        self,
        what: &str,
        begin: &str,
        copy: &str,
        secret: &Secret,
        finish: &str,
    ) -> Result<(), ProviderError> {
        self.batch(what, begin).await?;
        let row = format!("{}\t{}\n", "-".repeat(PADDING), copied(secret.reveal()));
        self.bounded(what, async {
            let mut sink = pin!(self.client.copy_in(copy).await?);
            sink.send(Bytes::from(row)).await?;
            sink.finish().await
        })
        .await?;
        self.batch(what, finish).await?;
        Ok(())
    }

    /// `statements` in a transaction that is rolled back. Nothing else may be under way on the
    /// session.
    pub(super) async fn try_out(
        &self,
        what: &str,
        statements: &str,
    ) -> Result<Tried, ProviderError> {
        let sql = format!("BEGIN; {statements}; ROLLBACK");
        let tried = self.client.simple_query(&sql);
        let tried = match timeout(STATEMENT, tried).await {
            Ok(Ok(_messages)) => return Ok(Tried::Works),
            Ok(Err(error)) => error,
            Err(_elapsed) => return Err(self.given_up(what)),
        };
        match tried.as_db_error() {
            Some(refusal) if !self.is_closed() => {
                self.batch("roll back", "ROLLBACK").await?;
                Ok(Tried::Refused {
                    sqlstate: refusal.code().code().to_owned(),
                    message: refusal.message().to_owned(),
                })
            }
            _ => Err(self.statement_error(what, &tried)),
        }
    }

    /// `statements` in one transaction block and one round trip, each with a snapshot of its
    /// own; the first column of every row they return.
    pub(super) async fn block(
        &self,
        what: &str,
        statements: &[String],
    ) -> Result<Vec<String>, ProviderError> {
        let statements = statements.join("; ");
        let sql = format!("BEGIN ISOLATION LEVEL READ COMMITTED; {statements}; COMMIT");
        let outcome = self.batch(what, &sql).await;
        if let Err(ProviderError::Failed { .. }) = outcome {
            // A failed statement leaves the session inside the aborted transaction.
            self.batch("roll back", "ROLLBACK").await?;
        }
        outcome
    }

    /// A session that does not answer is given up: its statement may still run, and the next
    /// `attach` ends it on the server.
    async fn bounded<T>(
        &self,
        what: &str,
        statement: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, ProviderError> {
        match timeout(STATEMENT, statement).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(self.statement_error(what, &error)),
            Err(_elapsed) => Err(self.given_up(what)),
        }
    }

    /// The server cannot be driven by this role, and why.
    pub(super) fn unfit(&self, reason: &str) -> ProviderError {
        ProviderError::Unfit {
            server: self.server.clone(),
            reason: reason.to_owned(),
        }
    }

    fn given_up(&self, what: &str) -> ProviderError {
        self.connection.abort();
        ProviderError::Unreachable {
            server: self.server.clone(),
            reason: format!("could not {what}: no answer within {STATEMENT:?}"),
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
                    reason: format!("could not {what}: {}", db.message()),
                }
            }
            Some(db) => ProviderError::Failed {
                server,
                what: what.to_owned(),
                reason: format!("{} ({})", db.message(), db.code().code()),
            },
            None => ProviderError::Unreachable {
                server,
                reason: format!("could not {what}: {}", chain(error)),
            },
        }
    }
}

/// A value as COPY's text format has it.
/// <https://www.postgresql.org/docs/current/sql-copy.html>
fn copied(value: &str) -> String {
    let value = value.replace('\\', "\\\\").replace('\t', "\\t");
    value.replace('\n', "\\n").replace('\r', "\\r")
}

fn connect_error(server: &ServerName, datname: &str, error: ConnectError) -> ProviderError {
    let server = server.clone();
    match error {
        ConnectError::Unfit(reason) => ProviderError::Unfit { server, reason },
        ConnectError::Refused { code, message, .. } if code == SqlState::CANNOT_CONNECT_NOW => {
            ProviderError::Starting {
                server,
                reason: message,
            }
        }
        ConnectError::Refused { code, message, .. }
            if code == SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE =>
        {
            ProviderError::Closed {
                server,
                datname: datname.to_owned(),
                reason: format!("{message} ({})", code.code()),
            }
        }
        ConnectError::Refused { code, message, .. } => ProviderError::Failed {
            server,
            what: format!("connecting to {datname}"),
            reason: format!("{message} ({})", code.code()),
        },
        ConnectError::Unreachable(reason) => ProviderError::Unreachable {
            server,
            reason: format!("cannot connect to {datname}: {reason}"),
        },
    }
}

const OWN: &str = "SELECT pg_backend_pid(), \
     extract(epoch FROM pg_postmaster_start_time())::text";
/// A little longer than `statement_timeout`, so that a statement which takes too long is
/// rolled back by the server and not given up; shorter than a hold, so that an undo fits
/// behind it.
/// More than a server shows of a row that it cannot copy.
const PADDING: usize = 128;
const STATEMENT: Duration = Duration::from_millis(4_500);
