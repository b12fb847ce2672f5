use std::{fmt, net::SocketAddr};

use async_trait::async_trait;
use pointsman_catalog::Server;

/// Writes outside of any migration, each over a session of its own. The caller bounds the wait.
#[async_trait]
pub trait ProbeSessions: fmt::Debug + Send + Sync {
    /// Tries a write as the control role, at the server itself, that leaves nothing behind.
    async fn try_write(
        &self,
        server: &Server,
        datname: &str,
        default: ReadOnlyDefault,
    ) -> WriteAttempt;

    /// Whether the probe role of `server` could log in to `datname` through a sidecar, as far as that
    /// is known beforehand; the error is why not. Connects to nothing.
    fn probe_login(&self, server: &Server, datname: &str) -> Result<(), String>;

    /// Commits `value` into the probe table of `datname`, through the listener at `through`, as the
    /// probe role, which is never the control role.
    async fn write_row(
        &self,
        server: &Server,
        datname: &str,
        through: SocketAddr,
        value: i64,
    ) -> Result<(), ProbeError>;
}

/// What a session does about a server that is read-only by a default setting.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ReadOnlyDefault {
    /// It respects the setting, as an application would.
    Respected,
    /// It overrides the setting, which every session may.
    Overridden,
}

/// How a server answered a write that was rolled back.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum WriteAttempt {
    Wrote,
    /// It answered, and no session can write there.
    CannotWrite {
        reason: String,
    },
    /// It did not answer, or refused for another reason than being closed to writes.
    Unknown {
        reason: String,
    },
}

/// Why a probe's row was not written: the server's message with its code, or what the
/// connection ran into.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct ProbeError {
    pub message: String,
}
