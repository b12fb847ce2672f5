//! What writers and readers have in common: a route, a record, and how they try again.

use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_postgres::Row;
use tokio_postgres::error::Severity;
use tokio_postgres::types::{ToSql, Type};
use tokio_util::sync::CancellationToken;

use super::clock::{Clock, Moment};
use super::record::{EventKind, Failure, FailureClass, Habit, Log};
use super::route::Route;
use super::session::{Login, Session, error_message, sqlstate};

/// The parts that every client has.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) log: Arc<Log>,
    pub(super) clock: Clock,
    pub(super) route: Route,
    pub(super) login: Login,
    pub(super) manners: Manners,
    pub(super) acked: watch::Sender<u64>,
    pub(super) stop: CancellationToken,
    pub(super) give_up: CancellationToken,
}

/// How patient clients are.
#[derive(Debug, Clone, Copy)]
pub struct Manners {
    /// How long a client waits before it connects again. After losing a session it tries once at once.
    pub retry: Duration,
    /// How long a client waits after the server has refused a statement.
    pub after_refusal: Duration,
    /// How long a client waits for a session or for an answer before it counts that as an error.
    pub patience: Duration,
}

impl Default for Manners {
    /// 20 ms between connects; a server that refuses statements is not stormed; and more patience than the default
    /// budget of a hold.
    fn default() -> Self {
        Self {
            retry: Duration::from_millis(20),
            after_refusal: Duration::from_millis(250),
            patience: Duration::from_secs(15),
        }
    }
}

impl Manners {
    /// How long a client waits after its latest error; `before` is how many it had in a row until then.
    pub(super) fn pause(&self, before: u32, class: FailureClass) -> Duration {
        match class {
            FailureClass::SessionLost | FailureClass::InDoubt if before == 0 => Duration::ZERO,
            FailureClass::SessionLost | FailureClass::InDoubt | FailureClass::Connect => self.retry,
            FailureClass::Statement => self.after_refusal,
        }
    }
}

impl Client {
    pub(super) fn now(&self) -> Moment {
        self.clock.now()
    }

    pub(super) fn number(&self) -> i32 {
        self.log.identity().client
    }

    pub(super) fn keeps_session(&self) -> bool {
        self.log.identity().habit == Habit::KeepsSession
    }

    pub(super) fn happened(&self, kind: EventKind) {
        self.log.push(self.now(), kind);
    }

    /// Hands back the session that the client has, or opens one.
    ///
    /// # Errors
    /// The session was lost while it was idle, or none can be opened.
    pub(super) async fn session(&self, held: Option<Session>) -> Result<Session, Failure> {
        match held {
            Some(session) if !session.is_closed() => Ok(session),
            Some(lost) => {
                let cause = lost.close().await;
                let said = cause.as_ref().map(error_message);
                Err(Failure {
                    class: FailureClass::SessionLost,
                    sqlstate: cause.as_ref().and_then(sqlstate),
                    message: said.unwrap_or_else(|| "closed without a word".to_owned()),
                    number: None,
                })
            }
            None => self.connect().await,
        }
    }

    /// Runs one statement of its own transaction.
    ///
    /// # Errors
    /// `Refused` when the server said no and the session lives; `Cut` when no answer came.
    pub(super) async fn ask(
        &self,
        session: &Session,
        sql: &str,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<Row>, NoAnswer> {
        let patience = self.manners.patience;
        let asking = session.client().query_typed(sql, parameters);
        match timeout(patience, asking).await {
            Ok(Ok(rows)) => Ok(rows),
            Ok(Err(error)) if is_refusal(&error) => {
                Err(NoAnswer::Refused(failure(FailureClass::Statement, &error)))
            }
            Ok(Err(error)) => Err(NoAnswer::Cut(failure(FailureClass::SessionLost, &error))),
            Err(_) => Err(NoAnswer::Cut(Failure {
                class: FailureClass::SessionLost,
                sqlstate: None,
                message: format!("no answer within {patience:?}"),
                number: None,
            })),
        }
    }

    async fn connect(&self) -> Result<Session, Failure> {
        let began = self.now();
        let address = self.route.address();
        match Session::open(address, &self.login, self.manners.patience).await {
            Ok(session) => {
                self.happened(EventKind::Connected { began });
                Ok(session)
            }
            Err(error) => Err(Failure {
                class: FailureClass::Connect,
                sqlstate: error.sqlstate,
                message: error.message,
                number: None,
            }),
        }
    }
}

/// A statement's parameter with its type.
pub(super) type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

/// A statement that was not answered by rows.
#[derive(Debug)]
pub(super) enum NoAnswer {
    /// The server refused it, and nothing of it took effect.
    Refused(Failure),
    /// The connection is gone or silent.
    Cut(Failure),
}

impl NoAnswer {
    pub(super) fn into_failure(self) -> Failure {
        match self {
            Self::Refused(failure) | Self::Cut(failure) => failure,
        }
    }
}

/// The port that a server reports of itself in the first column.
///
/// # Errors
/// There is no row, or the connection is not TCP.
pub(super) fn server_port(rows: &[Row]) -> anyhow::Result<u16> {
    let row = rows.first().ok_or_else(|| anyhow!("no row came back"))?;
    let port: i32 = row.try_get(0)?;
    Ok(u16::try_from(port)?)
}

/// Only a plain ERROR says for certain that the statement's own transaction was rolled back; a FATAL may have hit
/// a session whose commit was through already.
fn is_refusal(error: &tokio_postgres::Error) -> bool {
    let reported = error.as_db_error();
    reported.is_some_and(|reported| reported.parsed_severity() == Some(Severity::Error))
}

fn failure(class: FailureClass, error: &tokio_postgres::Error) -> Failure {
    Failure {
        class,
        sqlstate: sqlstate(error),
        message: error_message(error),
        number: None,
    }
}

/// `read_only_sql_transaction`: the server takes no writes, so a writer looks for the writer's address again.
pub(super) const READ_ONLY: &str = "25006";
