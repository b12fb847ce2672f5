use std::sync::Arc;

use async_trait::async_trait;
use pointsman_catalog::Server;

use super::{
    control_sessions::ControlSessions, dry_run::RecordingProvider, identity,
    inspector::SqlInspector, leadership, probe_sessions::SqlProbeSessions, record, server,
};
use crate::ports::{
    ControlId, ControlledServer, DatabaseProvider, FenceRecord, Inspector, Observation,
    ProbeSessions, ProviderError, Recorder,
};

/// Reaches servers by the connection string that the catalogue has for their control role.
#[derive(Clone, Copy, Debug, Default)]
pub struct PostgresProvider;

#[async_trait]
impl DatabaseProvider for PostgresProvider {
    /// The catalogue has a libpq string for every server.
    fn reaches(&self, _server: &Server) -> bool {
        true
    }

    async fn attach(
        &self,
        server: &Server,
        control: &ControlId,
    ) -> Result<ControlledServer, ProviderError> {
        let sessions = ControlSessions::open(server, control).await?;
        leadership::take_over(&sessions).await?;
        let roles = server::roles(sessions);
        Ok(ControlledServer::new(server.name.clone(), roles))
    }

    async fn observe(&self, server: &Server) -> Result<Observation, ProviderError> {
        identity::look_at(server).await
    }

    async fn inspect(&self, server: &Server) -> Result<Box<dyn Inspector>, ProviderError> {
        Ok(Box::new(SqlInspector::open(server).await?))
    }

    async fn fence_record(&self, server: &Server) -> Result<Option<FenceRecord>, ProviderError> {
        record::look_at(server).await
    }

    fn probes(&self) -> &dyn ProbeSessions {
        &SqlProbeSessions
    }

    fn recording(&self, recorder: Recorder) -> Arc<dyn DatabaseProvider> {
        Arc::new(RecordingProvider::new(recorder))
    }
}
