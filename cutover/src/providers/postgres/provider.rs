use std::sync::Arc;

use async_trait::async_trait;
use pointsman_catalog::Server;

use super::{
    clients,
    connection::{Connector, SecretSources},
    control_sessions::ControlSessions,
    dry_run::RecordingProvider,
    identity,
    inspector::SqlInspector,
    leadership,
    probe_sessions::SqlProbeSessions,
    record, server, wal,
};
use crate::{
    Lsn,
    ports::{
        Clients, ControlId, ControlledServer, DatabaseProvider, FenceRecord, Inspector,
        Observation, ProbeSessions, ProviderError, Recorder,
    },
};

/// Reaches servers by the connection string that the catalogue has for their control role. By default
/// it reads no file and no variable that such a string names.
#[derive(Clone, Debug, Default)]
pub struct PostgresProvider {
    connector: Connector,
    probes: SqlProbeSessions,
}

impl PostgresProvider {
    #[must_use]
    pub fn new(sources: SecretSources) -> Self {
        let connector = Connector::new(sources);
        Self {
            probes: SqlProbeSessions::new(connector.clone()),
            connector,
        }
    }
}

#[async_trait]
impl DatabaseProvider for PostgresProvider {
    /// The catalogue has a libpq string for every server.
    fn reaches(&self, _server: &Server) -> bool {
        true
    }

    fn examine(&self, server: &Server) -> Result<(), ProviderError> {
        self.connector.examine(server)
    }

    async fn attach(
        &self,
        server: &Server,
        control: &ControlId,
    ) -> Result<ControlledServer, ProviderError> {
        let sessions = ControlSessions::open(&self.connector, server, control).await?;
        leadership::take_over(&sessions).await?;
        let roles = server::roles(sessions);
        Ok(ControlledServer::new(server.name.clone(), roles))
    }

    async fn observe(&self, server: &Server) -> Result<Observation, ProviderError> {
        identity::look_at(&self.connector, server).await
    }

    async fn flush(&self, server: &Server) -> Result<Lsn, ProviderError> {
        wal::flush(&self.connector, server).await
    }

    async fn clients(&self, server: &Server) -> Result<Clients, ProviderError> {
        clients::look_at(&self.connector, server).await
    }

    async fn inspect(&self, server: &Server) -> Result<Box<dyn Inspector>, ProviderError> {
        Ok(Box::new(SqlInspector::open(&self.connector, server).await?))
    }

    async fn fence_record(&self, server: &Server) -> Result<Option<FenceRecord>, ProviderError> {
        record::look_at(&self.connector, server).await
    }

    fn probes(&self) -> &dyn ProbeSessions {
        &self.probes
    }

    fn recording(&self, recorder: Recorder) -> Arc<dyn DatabaseProvider> {
        Arc::new(RecordingProvider::new(&self.connector, recorder))
    }
}
