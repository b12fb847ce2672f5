//! PostgreSQL 15 and later, by plain SQL over a control role's sessions.
//!
//! Does not: reach a cloud's API, read WAL by the replication protocol, or speak TLS yet.

mod dry_run;
mod fence;
mod hba;
mod identity;
mod inspector;
mod prepare;
mod promote;
mod record;
mod reverse;
mod server;
mod session;
mod sessions;
mod statements;
mod wal;

use async_trait::async_trait;
use pointsman_catalog::Server;

use crate::ports::{
    ControlId, ControlledServer, DatabaseProvider, FenceRecord, Inspector, Observation,
    ProviderError,
};
use inspector::SqlInspector;
use server::SqlServer;
use session::{Purpose, Session};

pub use dry_run::{DryRun, Plan};
pub use hba::{UnfitHba, fenced as fenced_hba};

/// Reaches servers by the connection string that the catalogue has for their control role.
#[derive(Clone, Copy, Debug, Default)]
pub struct PostgresProvider;

impl PostgresProvider {
    /// What `server` says of itself, without taking control of it.
    pub async fn observe(&self, server: &Server) -> Result<Observation, ProviderError> {
        let session = Session::open(server, "postgres", &Purpose::Preflight).await?;
        identity::read(&session).await
    }
}

#[async_trait]
impl DatabaseProvider for PostgresProvider {
    async fn attach(
        &self,
        server: &Server,
        control: &ControlId,
    ) -> Result<Box<dyn ControlledServer>, ProviderError> {
        let purpose = Purpose::Control(control.clone());
        let session = Session::open(server, "postgres", &purpose).await?;
        let attached = SqlServer::new(server.clone(), control.clone(), session);
        attached.refuse_newer_fence().await?;
        attached.end_former_leader().await?;
        Ok(Box::new(attached))
    }

    async fn inspect(&self, server: &Server) -> Result<Box<dyn Inspector>, ProviderError> {
        Ok(Box::new(SqlInspector::open(server).await?))
    }

    async fn fence_record(&self, server: &Server) -> Result<Option<FenceRecord>, ProviderError> {
        let session = Session::open(server, "postgres", &Purpose::Recovery).await?;
        Ok(record::read_all(&session).await?.into_iter().next())
    }
}
