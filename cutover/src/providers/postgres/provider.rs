use std::sync::Arc;

use async_trait::async_trait;
use pointsman_catalog::Server;

use super::{
    dry_run::RecordingProvider,
    identity,
    inspector::SqlInspector,
    record,
    server::SqlServer,
    session::{Purpose, Session},
};
use crate::ports::{
    ControlId, ControlledServer, DatabaseProvider, FenceRecord, Inspector, Observation,
    PromotionMethod, ProviderError, Recorder, Roles,
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
        let purpose = Purpose::Control(control.clone());
        let session = Session::open(server, "postgres", &purpose).await?;
        let attached = Arc::new(SqlServer::new(server.clone(), control.clone(), session));
        attached.refuse_newer_fence().await?;
        attached.end_former_leader().await?;
        let roles = Roles {
            observe: Arc::clone(&attached) as _,
            sessions: Ok(Arc::clone(&attached) as _),
            fence: Ok(Arc::clone(&attached) as _),
            replication: Ok(Arc::clone(&attached) as _),
            promotion: PromotionMethod::Guarded(Arc::clone(&attached) as _),
            wal_proof: Ok(Arc::clone(&attached) as _),
            reverse_publisher: Ok(Arc::clone(&attached) as _),
            reverse_subscriber: Ok(Arc::clone(&attached) as _),
            probe_table: Ok(Arc::clone(&attached) as _),
            preparation: Ok(attached),
        };
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

    fn recording(&self, recorder: Recorder) -> Arc<dyn DatabaseProvider> {
        Arc::new(RecordingProvider::new(recorder))
    }
}
