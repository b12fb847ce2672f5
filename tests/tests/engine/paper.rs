//! A promotion by an API in a dry run.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use async_trait::async_trait;
use pointsman_catalog::Server;
use pointsman_cutover::ports::{
    ControlId, ControlledServer, DatabaseProvider, FenceRecord, FenceToken, Inspector,
    ManagedPromotion, Observation, Observe, ProbeSessions, PromotionOutlook, PromotionProgress,
    ProviderError, Recorder, RequestAnswer, Roles,
};

use super::api::without_sql_promotion;

/// Writes down that it is asked, and is through at once.
#[derive(Clone, Debug)]
pub(super) struct PaperApi {
    pub(super) paper: Arc<dyn DatabaseProvider>,
    pub(super) asked: Arc<AtomicBool>,
    pub(super) outlook: PromotionOutlook,
    pub(super) recorder: Recorder,
}

#[async_trait]
impl ManagedPromotion for PaperApi {
    async fn request(&self, _token: FenceToken) -> Result<RequestAnswer, ProviderError> {
        self.recorder.note("the API is asked to promote green");
        self.asked.store(true, Ordering::Relaxed);
        Ok(RequestAnswer::Accepted)
    }

    async fn progress(&self) -> Result<PromotionProgress, ProviderError> {
        self.recorder.note("the API is asked how far it is");
        Ok(PromotionProgress::Promoted)
    }

    fn outlook(&self) -> PromotionOutlook {
        self.outlook
    }
}

/// A server as it would be once the API was asked.
#[derive(Debug)]
struct PaperServer {
    observe: Arc<dyn Observe>,
    asked: Arc<AtomicBool>,
}

#[async_trait]
impl Observe for PaperServer {
    async fn observe(&self) -> Result<Observation, ProviderError> {
        let observed = self.observe.observe().await?;
        if !self.asked.load(Ordering::Relaxed) {
            return Ok(observed);
        }
        Ok(Observation {
            in_recovery: false,
            timeline: observed.timeline + 1,
            replayed: None,
            ..observed
        })
    }
}

#[async_trait]
impl DatabaseProvider for PaperApi {
    fn reaches(&self, server: &Server) -> bool {
        self.paper.reaches(server)
    }

    fn managed_promotion(&self, _server: &Server) -> Option<Arc<dyn ManagedPromotion>> {
        Some(Arc::new(self.clone()))
    }

    async fn attach(
        &self,
        server: &Server,
        control: &ControlId,
    ) -> Result<ControlledServer, ProviderError> {
        let attached = self.paper.attach(server, control).await?;
        let roles = without_sql_promotion(attached.roles().clone());
        let observe = PaperServer {
            observe: Arc::clone(&roles.observe),
            asked: Arc::clone(&self.asked),
        };
        let roles = Roles {
            observe: Arc::new(observe),
            ..roles
        };
        Ok(ControlledServer::new(server.name.clone(), roles))
    }

    async fn observe(&self, server: &Server) -> Result<Observation, ProviderError> {
        self.paper.observe(server).await
    }

    async fn inspect(&self, server: &Server) -> Result<Box<dyn Inspector>, ProviderError> {
        self.paper.inspect(server).await
    }

    async fn fence_record(&self, server: &Server) -> Result<Option<FenceRecord>, ProviderError> {
        self.paper.fence_record(server).await
    }

    fn probes(&self) -> &dyn ProbeSessions {
        self.paper.probes()
    }

    fn recording(&self, recorder: Recorder) -> Arc<dyn DatabaseProvider> {
        self.paper.recording(recorder)
    }
}
