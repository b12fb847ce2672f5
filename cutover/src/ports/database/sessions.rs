use std::{fmt, time::Duration};

use async_trait::async_trait;
use pointsman_catalog::UnixMillis;
use serde::{Deserialize, Serialize};

use super::{error::ProviderError, reverse_stream::ReverseSlot};

/// The sessions on a server: the engine's own are opened and kept, all others are counted and
/// ended.
///
/// "None left", wherever sessions are ended: no row in `pg_stat_activity` with a
/// `datname`, apart from the control sessions of this leader, autovacuum workers and the
/// walsender that is the `active_pid` of a spared slot while it is `streaming`.
#[async_trait]
pub trait SessionControl: fmt::Debug + Send + Sync {
    /// Whether the first of the control sessions is known to have ended. Nothing is asked.
    fn is_lost(&self) -> bool;

    /// Opens one control session per database and keeps it; a closed database accepts
    /// no new one, its superusers' included.
    async fn open_databases(&self, datnames: &[String]) -> Result<(), ProviderError>;

    /// Opens the control sessions of databases that are closed, on a promoted server
    /// that nobody may enter yet: strangers kept out (`CONNECTION LIMIT 0`; without superuser
    /// by CONNECT, which only the control role keeps) and `ALLOW_CONNECTIONS true`, sessions,
    /// closed again, everybody else ended.
    async fn reenter_databases(&self, datnames: &[String]) -> Result<(), ProviderError>;

    /// Waits for every backend that passed the check of `datallowconn` before the
    /// closing and is still starting (`ALTER DATABASE … SET TABLESPACE` to its own, or without
    /// superuser `RENAME` to its own name: either takes the lock that a starting backend holds).
    async fn await_starting_backends(&self) -> Result<(), ProviderError>;

    /// Who is on the way in, who has come after `since`, on the server's own clock, and who is in
    /// `datnames`.
    async fn arrivals(
        &self,
        since: UnixMillis,
        datnames: &[String],
    ) -> Result<Arrivals, ProviderError>;

    /// Ends every session but the spared ones and waits until none is left. Returns
    /// how many were ended.
    ///
    /// # Errors
    /// [`ProviderError::TimedOut`] names the sessions that would not end,
    /// [`ProviderError::SessionsLeft`] those that the control role may not end.
    async fn end_sessions(
        &self,
        spare: &[ReverseSlot],
        deadline: Duration,
    ) -> Result<u64, ProviderError>;

    /// The same, but the apply workers of the reverse stream go on.
    async fn end_strangers(&self, deadline: Duration) -> Result<u64, ProviderError>;

    /// Tries a new connection to `datname` over TCP and says how the server answered.
    async fn try_connect(&self, datname: &str) -> Result<ConnectionAttempt, ProviderError>;
}

impl ConnectionAttempt {
    /// Whether the server itself said that it is fenced. Any other refusal says nothing of that.
    pub fn is_fenced(&self) -> bool {
        match self {
            Self::Refused {
                by_access_rules,
                closed,
                ..
            } => *by_access_rules || *closed,
            Self::Accepted | Self::Unreachable { .. } => false,
        }
    }
}

/// `refused: too many clients (53300)`
impl fmt::Display for ConnectionAttempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepted => f.write_str("let in"),
            Self::Refused {
                sqlstate, message, ..
            } => write!(f, "refused: {message} ({sqlstate})"),
            Self::Unreachable { reason } => write!(f, "no answer: {reason}"),
        }
    }
}

/// Who is coming in on a server, the control sessions apart.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Arrivals {
    /// Connections in authentication. One that has not sent its startup packet, or is in the
    /// middle of its TLS handshake, is not among them: no view of the server shows it.
    pub logging_in: u64,
    /// Client backends that have logged in to one of the given databases.
    pub logged_in: u64,
    /// Client backends in any database that began after the given time.
    pub newcomers: u64,
}

/// How a server answered a new connection.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum ConnectionAttempt {
    /// It let the connection in.
    Accepted,
    /// It answered and refused, with this message.
    Refused {
        sqlstate: String,
        message: String,
        /// Its rules of who may come from where refused, before it looked at role or database.
        #[serde(default)]
        by_access_rules: bool,
        /// The database accepts nobody.
        #[serde(default)]
        closed: bool,
    },
    /// It did not answer.
    Unreachable { reason: String },
}
