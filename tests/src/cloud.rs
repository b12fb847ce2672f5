//! The provider of a lab's cloud: servers are reached by SQL, and promoted by the lab's API.

use std::{env, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use async_trait::async_trait;
use pointsman_catalog::{Server, ServerName};
use pointsman_cutover::ports::{
    ControlId, ControlledServer, DatabaseProvider, FenceRecord, FenceToken, Inspector,
    ManagedPromotion, NotOffered, Observation, ProbeSessions, PromotionOutlook, PromotionProgress,
    ProviderError, Recorder, RequestAnswer, Roles,
};
use pointsman_lab::{
    Cloud,
    postgres::{PromotionStage, promotion_stage, request_promotion},
};

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
    let api = PromotionApi { server, address };
    let sql = Arc::clone(sql);
    Ok(vec![Arc::new(LabCloud { api, sql })])
}

/// Reaches the one server that the API promotes.
#[derive(Debug)]
struct LabCloud {
    api: PromotionApi,
    sql: Arc<dyn DatabaseProvider>,
}

#[async_trait]
impl DatabaseProvider for LabCloud {
    fn reaches(&self, server: &Server) -> bool {
        server.name == self.api.server
    }

    fn examine(&self, server: &Server) -> Result<(), ProviderError> {
        self.sql.examine(server)
    }

    fn managed_promotion(&self, _server: &Server) -> Option<Arc<dyn ManagedPromotion>> {
        Some(Arc::new(self.api.clone()))
    }

    async fn attach(
        &self,
        server: &Server,
        control: &ControlId,
    ) -> Result<ControlledServer, ProviderError> {
        let attached = self.sql.attach(server, control).await?;
        let roles = Roles {
            guarded_promotion: Err(NotOffered {
                reason: "the cloud keeps pg_promote to itself".to_owned(),
                remedy: "ask its API".to_owned(),
            }),
            ..attached.roles().clone()
        };
        Ok(ControlledServer::new(server.name.clone(), roles))
    }

    async fn observe(&self, server: &Server) -> Result<Observation, ProviderError> {
        self.sql.observe(server).await
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
        self.sql.recording(recorder)
    }
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
