//! A server that an API promotes, as clouds do it: without a guard, asked once, all sessions end.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicBool},
    time::Duration,
};

use anyhow::{Result, ensure};
use async_trait::async_trait;
use pointsman_catalog::Server;
use pointsman_cutover::{
    ports::{
        ControlId, ControlledServer, DatabaseProvider, FenceRecord, FenceToken, Inspector,
        ManagedPromotion, NotOffered, Observation, ProbeSessions, PromotionOutlook,
        PromotionProgress, ProviderError, Recorder, RequestAnswer, Roles,
    },
    providers::postgres::{PostgresProvider, SecretSources},
};
use pointsman_lab::postgres::PostgresServer;

use super::paper::PaperApi;

/// The API of `green`. It is not part of any engine, and outlives them all.
#[derive(Clone, Debug)]
pub(crate) struct PromotionApi {
    inside: Arc<Mutex<Inside>>,
    postgres: PostgresProvider,
}

#[derive(Debug)]
struct Inside {
    /// `green` is promoted by this API and by nothing else.
    on: bool,
    reception: Reception,
    outlook: PromotionOutlook,
    progress: PromotionProgress,
    /// The tokens of the requests that arrived.
    received: Vec<FenceToken>,
    /// How often somebody has asked how far it is.
    looks: u64,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Reception {
    Accepted,
    /// It arrives, and the answer does not.
    AnswerLost,
    /// It arrives, and nobody answers as long as the caller lives.
    NeverAnswered,
    /// It never arrives.
    RequestLost,
    Refused,
}

impl Default for PromotionApi {
    fn default() -> Self {
        Self {
            inside: Arc::default(),
            postgres: PostgresProvider::new(SecretSources::unrestricted()),
        }
    }
}

impl Default for Inside {
    fn default() -> Self {
        Self {
            on: false,
            reception: Reception::Accepted,
            outlook: PromotionOutlook {
                typical: Some(Duration::from_secs(240)),
                patience: Duration::from_secs(600),
                look_every: Duration::from_millis(20),
            },
            progress: PromotionProgress::NotReceived,
            received: Vec::new(),
            looks: 0,
        }
    }
}

impl PromotionApi {
    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on `green` is promoted by this API.
    pub(crate) fn switch_on(&self) {
        self.inside().on = true;
    }

    pub(crate) fn receive(&self, reception: Reception) {
        self.inside().reception = reception;
    }

    /// From now on a promotion is waited for so long until an operator is asked.
    pub(crate) fn be_patient(&self, patience: Duration) {
        self.inside().outlook.patience = patience;
    }

    pub(crate) fn say(&self, progress: PromotionProgress) {
        self.inside().progress = progress;
    }

    /// How many requests arrived.
    pub(crate) fn received(&self) -> usize {
        self.inside().received.len()
    }

    /// The tokens that came with the requests.
    pub(crate) fn tokens(&self) -> Vec<FenceToken> {
        self.inside().received.clone()
    }

    pub(crate) fn looks(&self) -> u64 {
        self.inside().looks
    }

    /// What the API does with `server` once it was asked: it is promoted, whatever it holds by
    /// then, and restarted.
    pub(crate) async fn promote(&self, server: &PostgresServer) -> Result<()> {
        ensure!(self.received() > 0, "nobody asked for it");
        let session = server.client("postgres").await?;
        session.batch_execute("SELECT pg_promote()").await?;
        drop(session);
        server.stop().await?;
        server.start().await?;
        self.say(PromotionProgress::Promoted);
        Ok(())
    }
}

#[async_trait]
impl ManagedPromotion for PromotionApi {
    async fn request(&self, token: FenceToken) -> Result<RequestAnswer, ProviderError> {
        let name = token.server.clone();
        let reception = {
            let mut inside = self.inside();
            if matches!(
                inside.reception,
                Reception::Accepted | Reception::AnswerLost | Reception::NeverAnswered
            ) {
                inside.received.push(token);
                inside.progress = PromotionProgress::UnderWay {
                    said: "promoting".to_owned(),
                };
            }
            inside.reception
        };
        match reception {
            Reception::Accepted => Ok(RequestAnswer::Accepted),
            Reception::Refused => Ok(RequestAnswer::Refused {
                reason: "InvalidDBClusterStateFault: the cluster is backing up".to_owned(),
            }),
            Reception::AnswerLost | Reception::RequestLost => Err(ProviderError::Unreachable {
                server: name,
                reason: "the API did not answer".to_owned(),
            }),
            Reception::NeverAnswered => std::future::pending().await,
        }
    }

    async fn progress(&self) -> Result<PromotionProgress, ProviderError> {
        let mut inside = self.inside();
        inside.looks += 1;
        Ok(inside.progress.clone())
    }

    fn outlook(&self) -> PromotionOutlook {
        self.inside().outlook
    }
}

#[async_trait]
impl DatabaseProvider for PromotionApi {
    fn reaches(&self, server: &Server) -> bool {
        self.inside().on && server.name.as_str() == "green"
    }

    fn managed_promotion(&self, _server: &Server) -> Option<Arc<dyn ManagedPromotion>> {
        Some(Arc::new(self.clone()))
    }

    async fn attach(
        &self,
        server: &Server,
        control: &ControlId,
    ) -> Result<ControlledServer, ProviderError> {
        let attached = self.postgres.attach(server, control).await?;
        Ok(ControlledServer::new(
            server.name.clone(),
            without_sql_promotion(attached.roles().clone()),
        ))
    }

    async fn observe(&self, server: &Server) -> Result<Observation, ProviderError> {
        self.postgres.observe(server).await
    }

    async fn inspect(&self, server: &Server) -> Result<Box<dyn Inspector>, ProviderError> {
        self.postgres.inspect(server).await
    }

    async fn fence_record(&self, server: &Server) -> Result<Option<FenceRecord>, ProviderError> {
        self.postgres.fence_record(server).await
    }

    fn probes(&self) -> &dyn ProbeSessions {
        self.postgres.probes()
    }

    fn recording(&self, recorder: Recorder) -> Arc<dyn DatabaseProvider> {
        Arc::new(PaperApi {
            paper: self.postgres.recording(recorder.clone()),
            asked: Arc::new(AtomicBool::new(false)),
            outlook: self.inside().outlook,
            recorder,
        })
    }
}

pub(super) fn without_sql_promotion(roles: Roles) -> Roles {
    Roles {
        guarded_promotion: Err(NotOffered {
            reason: "nobody may call pg_promote there".to_owned(),
            remedy: "ask its API".to_owned(),
        }),
        ..roles
    }
}
