//! A server that an API promotes, as clouds do it: without a guard, asked once, all sessions end.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Result, ensure};
use async_trait::async_trait;
use pointsman_catalog::{Server, ServerName};
use pointsman_cutover::ports::{
    DatabaseProvider, FenceToken, ManagedPromotion, PromotionOutlook, PromotionProgress,
    ProviderError, Recorder, RequestAnswer, Roles,
};
use pointsman_lab::postgres::PostgresServer;
use pointsman_tests::paper_api::PaperApi;
use pointsman_tests::reached_by_sql::{Difference, ReachedBySql, without_sql_promotion};

/// The API of `green`. It is not part of any engine, and outlives them all.
#[derive(Clone, Debug, Default)]
pub(crate) struct PromotionApi {
    inside: Arc<Mutex<Inside>>,
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

    /// What the API does with `server` once it was asked: it is promoted with what it holds by then,
    /// and restarted.
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
        let name = ServerName::new("green").unwrap_or_else(|_| token.server.clone());
        let (reception, first) = {
            let mut inside = self.inside();
            let arrives = matches!(
                inside.reception,
                Reception::Accepted | Reception::AnswerLost | Reception::NeverAnswered
            );
            let first = inside.received.is_empty();
            if arrives {
                inside.received.push(token);
            }
            if arrives && first {
                inside.progress = PromotionProgress::UnderWay {
                    said: "promoting".to_owned(),
                };
            }
            (inside.reception, first)
        };
        match reception {
            Reception::Accepted if !first => Ok(RequestAnswer::Refused {
                reason: "InvalidDBClusterStateFault: it was asked for before".to_owned(),
            }),
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

impl Difference for PromotionApi {
    fn is_of(&self, server: &Server) -> bool {
        self.inside().on && server.name.as_str() == "green"
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
            difference: PaperApi::new(self.inside().outlook, recorder),
        })
    }
}
