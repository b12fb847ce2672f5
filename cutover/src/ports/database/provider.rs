use std::{fmt, sync::Arc};

use async_trait::async_trait;
use pointsman_catalog::Server;
use serde::{Deserialize, Serialize};

use super::{
    budgets::Budgets, clients::Clients, error::ProviderError, fence::FenceRecord,
    observe::Observation, probe_sessions::ProbeSessions, promotion::ManagedPromotion,
    recorder::Recorder, server::ControlledServer,
};
use crate::Lsn;

/// Reaches PostgreSQL servers in one particular way (SQL, a cloud's API, on paper).
#[async_trait]
pub trait DatabaseProvider: fmt::Debug + Send + Sync {
    /// Whether it is the one that reaches `server`.
    fn reaches(&self, server: &Server) -> bool;

    /// Whether what `server`'s declaration names on this machine is there and may be read. Nothing is
    /// connected to.
    ///
    /// # Errors
    /// [`ProviderError::Unfit`] says what is not.
    fn examine(&self, _server: &Server) -> Result<(), ProviderError> {
        Ok(())
    }

    /// How long `server` may take for what it is asked. A server that is reached by SQL answers
    /// within milliseconds.
    fn budgets(&self, _server: &Server) -> Budgets {
        Budgets::BY_SQL
    }

    /// How an API promotes `server`; `None` where it is promoted by SQL.
    fn managed_promotion(&self, _server: &Server) -> Option<Arc<dyn ManagedPromotion>> {
        None
    }

    /// Takes control of `server`: the roles that it can play.
    ///
    /// First ends every session that an older epoch of the same migration left there,
    /// so that no effect of a former leader can still be under way.
    ///
    /// # Errors
    /// [`ProviderError::Superseded`] when the server carries the fence of a newer epoch.
    async fn attach(
        &self,
        server: &Server,
        control: &ControlId,
    ) -> Result<ControlledServer, ProviderError>;

    /// What `server` says of itself, without taking control of it.
    async fn observe(&self, server: &Server) -> Result<Observation, ProviderError>;

    /// [`WalProof::flush`](super::WalProof::flush) of a primary that no migration drives.
    async fn flush(&self, server: &Server) -> Result<Lsn, ProviderError>;

    /// Who is connected to `server`, by the other end of the connection.
    ///
    /// # Errors
    /// [`ProviderError::Unfit`] where the provider cannot tell.
    async fn clients(&self, server: &Server) -> Result<Clients, ProviderError> {
        Err(ProviderError::Unfit {
            server: server.name.clone(),
            reason: "its provider does not list who is connected".to_owned(),
        })
    }

    /// Opens read-only sessions for preflight checks; no side effect on the server.
    async fn inspect(&self, server: &Server) -> Result<Box<dyn Inspector>, ProviderError>;

    /// The fence record that a switch left in `server`, read without any store.
    async fn fence_record(&self, server: &Server) -> Result<Option<FenceRecord>, ProviderError>;

    /// Writes outside of any migration.
    fn probes(&self) -> &dyn ProbeSessions;

    /// The same provider without effects: reads what servers say of themselves, and writes
    /// down in `recorder` what it would do.
    fn recording(&self, recorder: Recorder) -> Arc<dyn DatabaseProvider>;
}

/// Who drives: part of the `application_name` of every control session, and of the
/// fence record.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ControlId {
    pub migration: String,
    /// Grows with each leader, crash and abort.
    pub epoch: u64,
}

/// Reads for checks, and tries. Sessions have short statement and lock timeouts.
#[async_trait]
pub trait Inspector: fmt::Debug + Send + Sync {
    /// The rows of one SELECT in `datname`, each as a JSON object, on a read-only session.
    async fn rows(
        &self,
        datname: &str,
        select: &str,
    ) -> Result<Vec<serde_json::Map<String, serde_json::Value>>, ProviderError>;

    /// Runs `statements`, separated by semicolons, in a transaction that is always rolled back.
    async fn try_out(&self, datname: &str, statements: &str) -> Result<Tried, ProviderError>;

    /// What each host leads to by itself, of connection strings that name several. One host decides
    /// which server a session is of, and nothing could differ where there is one.
    async fn hosts(&self) -> Result<Vec<HostSeen>, ProviderError>;

    /// Whether another server that subscribes to this one is given a password. Connects to nothing.
    fn hands_over_password(&self) -> bool;

    /// The role of the write probe, `None` where none is declared; or why it cannot be told. Connects
    /// to nothing.
    fn probe_role(&self) -> Result<Option<String>, String>;

    /// Whether the write probe could log in to `datname` through a sidecar, as far as that is known
    /// beforehand; the error is why not. Connects to nothing.
    fn probe_login(&self, datname: &str) -> Result<(), String>;
}

/// What a server made of statements that were rolled back.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Tried {
    Works,
    /// The server's own refusal.
    Refused {
        sqlstate: String,
        message: String,
    },
}

/// One of several hosts in a connection string.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HostSeen {
    /// The field of the declaration that holds the string.
    pub field: &'static str,
    pub host: String,
    /// The server there, or why that cannot be told.
    pub leads_to: Result<Instance, String>,
}

/// One running server. A primary and its standbys differ in when they were started.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Instance {
    pub system_identifier: String,
    pub in_recovery: bool,
    /// Seconds since 1970, as the server writes them.
    pub started: String,
}
