//! A promotion by an API in a dry run.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use crate::reached_by_sql::{Difference, without_sql_promotion};
use async_trait::async_trait;
use pointsman_catalog::Server;
use pointsman_cutover::ports::{
    FenceToken, ManagedPromotion, Observation, Observe, PromotionOutlook, PromotionProgress,
    ProviderError, Recorder, RequestAnswer, Roles,
};

/// Writes down that it is asked, and is through at once.
#[derive(Clone, Debug)]
pub struct PaperApi {
    asked: Arc<AtomicBool>,
    outlook: PromotionOutlook,
    recorder: Recorder,
}

impl PaperApi {
    /// Writes into `recorder`.
    #[must_use]
    pub fn new(outlook: PromotionOutlook, recorder: Recorder) -> Self {
        Self {
            asked: Arc::default(),
            outlook,
            recorder,
        }
    }
}

#[async_trait]
impl ManagedPromotion for PaperApi {
    async fn request(&self, _token: FenceToken) -> Result<RequestAnswer, ProviderError> {
        self.recorder.note("the API is asked to promote green");
        Ok(match self.asked.swap(true, Ordering::Relaxed) {
            false => RequestAnswer::Accepted,
            true => RequestAnswer::Refused {
                reason: "it was asked before".to_owned(),
            },
        })
    }

    async fn progress(&self) -> Result<PromotionProgress, ProviderError> {
        self.recorder.note("the API is asked how far it is");
        Ok(match self.asked.load(Ordering::Relaxed) {
            true => PromotionProgress::Promoted,
            false => PromotionProgress::NotReceived,
        })
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

impl Difference for PaperApi {
    fn is_of(&self, server: &Server) -> bool {
        server.name.as_str() == "green"
    }

    fn roles(&self, by_sql: Roles) -> Roles {
        let roles = without_sql_promotion(by_sql, "ask its API");
        let observe = PaperServer {
            observe: Arc::clone(&roles.observe),
            asked: Arc::clone(&self.asked),
        };
        Roles {
            observe: Arc::new(observe),
            ..roles
        }
    }

    fn managed_promotion(&self) -> Option<Arc<dyn ManagedPromotion>> {
        Some(Arc::new(self.clone()))
    }
}
