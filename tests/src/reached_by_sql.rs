//! Servers that SQL reaches, and about which one thing is different.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use pointsman_catalog::Server;
use pointsman_cutover::{
    Lsn,
    ports::{
        Clients, ControlId, ControlledServer, DatabaseProvider, FenceRecord, Inspector,
        ManagedPromotion, NotOffered, Observation, ProbeSessions, ProviderError, Recorder, Roles,
    },
};

/// What is different about a server.
pub trait Difference: fmt::Debug + Send + Sync + 'static {
    /// Whether it is so of `server`.
    fn is_of(&self, server: &Server) -> bool;

    /// What is left of the roles that SQL gives the server.
    fn roles(&self, by_sql: Roles) -> Roles;

    /// How an API promotes it.
    fn managed_promotion(&self) -> Option<Arc<dyn ManagedPromotion>> {
        None
    }

    /// The provider without effects, where `by_sql` is the one that SQL has.
    fn recording(
        &self,
        by_sql: Arc<dyn DatabaseProvider>,
        _recorder: Recorder,
    ) -> Arc<dyn DatabaseProvider> {
        by_sql
    }
}

/// Reaches the servers that are different.
#[derive(Debug)]
pub struct ReachedBySql<D> {
    pub sql: Arc<dyn DatabaseProvider>,
    pub difference: D,
}

#[async_trait]
impl<D: Difference> DatabaseProvider for ReachedBySql<D> {
    fn reaches(&self, server: &Server) -> bool {
        self.difference.is_of(server)
    }

    fn examine(&self, server: &Server) -> Result<(), ProviderError> {
        self.sql.examine(server)
    }

    fn managed_promotion(&self, _server: &Server) -> Option<Arc<dyn ManagedPromotion>> {
        self.difference.managed_promotion()
    }

    async fn attach(
        &self,
        server: &Server,
        control: &ControlId,
    ) -> Result<ControlledServer, ProviderError> {
        let attached = self.sql.attach(server, control).await?;
        let roles = self.difference.roles(attached.roles().clone());
        Ok(ControlledServer::new(server.name.clone(), roles))
    }

    async fn observe(&self, server: &Server) -> Result<Observation, ProviderError> {
        self.sql.observe(server).await
    }

    async fn flush(&self, server: &Server) -> Result<Lsn, ProviderError> {
        self.sql.flush(server).await
    }

    async fn clients(&self, server: &Server) -> Result<Clients, ProviderError> {
        self.sql.clients(server).await
    }

    async fn inspect(&self, server: &Server) -> Result<Box<dyn Inspector>, ProviderError> {
        self.sql.inspect(server).await
    }

    async fn fence_record(&self, server: &Server) -> Result<Option<FenceRecord>, ProviderError> {
        self.sql.fence_record(server).await
    }

    fn probes(&self) -> &dyn ProbeSessions {
        self.sql.probes()
    }

    fn recording(&self, recorder: Recorder) -> Arc<dyn DatabaseProvider> {
        let by_sql = self.sql.recording(recorder.clone());
        self.difference.recording(by_sql, recorder)
    }
}

/// `roles` of a server that no statement promotes; `remedy` is what its owner can do.
pub fn without_sql_promotion(roles: Roles, remedy: &str) -> Roles {
    Roles {
        guarded_promotion: Err(NotOffered {
            reason: "nobody may call pg_promote there".to_owned(),
            remedy: remedy.to_owned(),
        }),
        ..roles
    }
}
