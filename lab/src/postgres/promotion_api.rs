//! A promotion as a cloud's API offers it.

mod endpoint;

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use tokio::{sync::watch, task::JoinSet, time::sleep};

pub use self::endpoint::{PromotionEndpoint, promotion_stage, request_promotion};
use super::server::PostgresServer;

/// Promotes a standby on request: under no condition, without a deadline, and as slowly as it
/// was told. Nobody can call it back. At its end the server restarts, which ends every session.
#[derive(Debug)]
pub struct PromotionApi {
    server: PostgresServer,
    takes: Duration,
    stage: watch::Sender<PromotionStage>,
    requests: AtomicU64,
    /// Whether a promotion that is under way is to end now.
    hurry: watch::Sender<bool>,
    // Owns the promotion that is under way.
    tasks: Mutex<JoinSet<()>>,
}

/// How far a promotion is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PromotionStage {
    /// Nobody has asked for one.
    NotAsked,
    UnderWay,
    /// The server has restarted as a primary.
    Available,
    /// Why it came to nothing.
    Failed(String),
}

impl PromotionApi {
    /// Of `server`; from a request to the end of standby it takes `takes`.
    #[must_use]
    pub fn new(server: &PostgresServer, takes: Duration) -> Self {
        Self {
            server: server.clone(),
            takes,
            stage: watch::Sender::new(PromotionStage::NotAsked),
            requests: AtomicU64::new(0),
            hurry: watch::Sender::new(false),
            tasks: Mutex::default(),
        }
    }

    /// Asks for the promotion.
    ///
    /// # Errors
    /// One was asked for before; then nothing happens.
    pub fn request(&self) -> Result<(), String> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let first = self.stage.send_if_modified(|stage| {
            let first = *stage == PromotionStage::NotAsked;
            if first {
                *stage = PromotionStage::UnderWay;
            }
            first
        });
        if !first {
            let (name, stage) = (self.server.name(), self.stage());
            return Err(format!("{name} is not a read replica: {stage:?}"));
        }
        let (server, takes, stage) = (self.server.clone(), self.takes, self.stage.clone());
        let mut hurry = self.hurry.subscribe();
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.spawn(async move {
            tokio::select! {
                () = sleep(takes) => {}
                _told = hurry.wait_for(|hurry| *hurry) => {}
            }
            stage.send_replace(match promote(&server).await {
                Ok(()) => PromotionStage::Available,
                Err(error) => PromotionStage::Failed(format!("{error:#}")),
            });
        });
        Ok(())
    }

    /// Lets a promotion take no longer than until now.
    pub fn hurry(&self) {
        self.hurry.send_replace(true);
    }

    /// How far the promotion is.
    #[must_use]
    pub fn stage(&self) -> PromotionStage {
        self.stage.borrow().clone()
    }

    /// How often one was asked for.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }
}

async fn promote(server: &PostgresServer) -> Result<()> {
    let session = server.client("postgres").await?;
    session.execute("SELECT pg_promote(true)", &[]).await?;
    drop(session);
    server.stop().await?;
    server.start().await
}
