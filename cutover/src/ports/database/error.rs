use std::time::Duration;

use pointsman_catalog::ServerName;

use super::missing::MissingRole;

/// Why a server did not do what it was asked for. Variants are what the caller does next.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// Retry under the caller's deadline; then the server counts as unreachable.
    #[error("server {server} cannot be reached: {reason}")]
    Unreachable { server: ServerName, reason: String },
    /// It is there, and by its own word it lets nobody in now: it starts, recovers, or shuts down. Retry as
    /// if it were unreachable.
    #[error("server {server} lets nobody in now, by its own word: {reason}")]
    Starting { server: ServerName, reason: String },
    /// A wait ended; the state is what it was.
    #[error("server {server}: {what} did not happen within {waited:?}: {found}")]
    TimedOut {
        server: ServerName,
        what: String,
        waited: Duration,
        found: String,
    },
    /// Sessions are left that the control role may not end; a person must.
    #[error(
        "server {server}: sessions are left that the control role may not end: {sessions}; \
         have a superuser end them there by pg_terminate_backend, or wait until they go"
    )]
    SessionsLeft {
        server: ServerName,
        sessions: String,
    },
    /// A statement failed; it was rolled back.
    #[error("server {server}: {what} failed: {reason}")]
    Failed {
        server: ServerName,
        what: String,
        reason: String,
    },
    /// The database accepts nobody, by the server's own word.
    #[error("server {server}: connecting to {datname} failed: {reason}")]
    Closed {
        server: ServerName,
        datname: String,
        reason: String,
    },
    /// A newer leader drives this server: stop.
    #[error(
        "server {server} carries the fence of migration {migration} at epoch {found}, newer than \
         this engine's {own}; this engine must not drive it"
    )]
    Superseded {
        server: ServerName,
        migration: String,
        found: u64,
        own: u64,
    },
    /// A setting or right is missing; a person must grant it.
    #[error("server {server}: {reason}")]
    Unfit { server: ServerName, reason: String },
    /// The server cannot take part in this step at all.
    #[error(transparent)]
    MissingRole(#[from] MissingRole),
}
