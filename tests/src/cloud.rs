//! The provider of a lab's cloud: servers are reached by SQL, and promoted by the lab's API.

use std::{env, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use async_trait::async_trait;
use pointsman_catalog::{Server, ServerName};
use pointsman_cutover::ports::{
    DatabaseProvider, FenceToken, ManagedPromotion, PromotionOutlook, PromotionProgress,
    ProviderError, Recorder, RequestAnswer, Roles,
};
use pointsman_lab::{
    Cloud,
    postgres::{PromotionStage, promotion_stage, request_promotion},
};

use crate::paper_api::PaperApi;
use crate::reached_by_sql::{Difference, ReachedBySql, without_sql_promotion};

/// The server that the environment names, see [`Cloud::VARIABLE`]; none where it names none.
///
/// # Errors
/// The variable is malformed.
pub fn providers(sql: &Arc<dyn DatabaseProvider>) -> Result<Vec<Arc<dyn DatabaseProvider>>> {
    let Some(place) = env::var_os(Cloud::VARIABLE) else {
        return Ok(Vec::new());
    };
    let place = place.to_string_lossy();
    let parsed = place.split_once('=').and_then(|(name, address)| {
        let server = ServerName::new(name).ok()?;
        Some((server, address.parse().ok()?))
    });
    let (server, address) =
        parsed.with_context(|| format!("{}={place}; allowed: SERVER=IP:PORT", Cloud::VARIABLE))?;
    Ok(vec![Arc::new(ReachedBySql {
        sql: Arc::clone(sql),
        difference: PromotionApi { server, address },
    })])
}

/// The API of `server`, which answers at `address`.
#[must_use]
pub fn promotion_of(server: ServerName, address: SocketAddr) -> Arc<dyn ManagedPromotion> {
    Arc::new(PromotionApi { server, address })
}

/// The API of one server, on the far side of a socket.
#[derive(Clone, Debug)]
struct PromotionApi {
    server: ServerName,
    address: SocketAddr,
}

impl PromotionApi {
    fn unreachable(&self, error: &anyhow::Error) -> ProviderError {
        ProviderError::Unreachable {
            server: self.server.clone(),
            reason: format!("the API at {}: {error:#}", self.address),
        }
    }
}

impl Difference for PromotionApi {
    fn is_of(&self, server: &Server) -> bool {
        server.name == self.server
    }

    fn roles(&self, by_sql: Roles) -> Roles {
        without_sql_promotion(by_sql, "ask its API")
    }

    fn managed_promotion(&self) -> Option<Arc<dyn ManagedPromotion>> {
        Some(Arc::new(self.clone()))
    }

    fn recording(
        &self,
        by_sql: Arc<dyn DatabaseProvider>,
        recorder: Recorder,
    ) -> Arc<dyn DatabaseProvider> {
        Arc::new(ReachedBySql {
            sql: by_sql,
            difference: PaperApi::new(self.outlook(), recorder),
        })
    }
}

#[async_trait]
impl ManagedPromotion for PromotionApi {
    async fn request(&self, _token: FenceToken) -> Result<RequestAnswer, ProviderError> {
        match request_promotion(self.address).await {
            Ok(Ok(())) => Ok(RequestAnswer::Accepted),
            Ok(Err(reason)) => Ok(RequestAnswer::Refused { reason }),
            Err(error) => Err(self.unreachable(&error)),
        }
    }

    async fn progress(&self) -> Result<PromotionProgress, ProviderError> {
        let stage = promotion_stage(self.address).await;
        Ok(match stage.map_err(|error| self.unreachable(&error))? {
            PromotionStage::NotAsked => PromotionProgress::NotReceived,
            PromotionStage::UnderWay => PromotionProgress::UnderWay {
                said: "modifying".to_owned(),
            },
            PromotionStage::Available => PromotionProgress::Promoted,
            PromotionStage::Failed(reason) => PromotionProgress::Failed { reason },
        })
    }

    fn outlook(&self) -> PromotionOutlook {
        PromotionOutlook {
            typical: None,
            patience: Duration::from_secs(60),
            look_every: Duration::from_millis(50),
        }
    }
}
