//! The engine as a process of its own would run it, without sidecars.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use async_trait::async_trait;
use pointsman_catalog::{Catalog, DatabaseName, RouteChange, store::EmbeddedStore};
use pointsman_cutover::{
    Engine, Ports, Settings,
    ports::{
        Barrier, Convergence, DataPlane, DataPlaneError, Membership, NoEvidence, Publication,
        Rehearsal,
    },
    providers::postgres::PostgresProvider,
};
use tokio::{
    runtime::{Builder, Runtime},
    time::sleep,
};

/// Records routes in the catalogue as the real one does, and has no sidecars.
#[derive(Debug)]
pub(crate) struct Acknowledging {
    catalog: Arc<Catalog>,
    published: AtomicU64,
    /// Every acknowledgement takes its time.
    pub(crate) muted: AtomicBool,
    /// Whatever all must have is refused by one.
    pub(crate) refusing: AtomicBool,
}

#[async_trait]
impl DataPlane for Acknowledging {
    async fn publish(
        &self,
        changes: &BTreeMap<DatabaseName, RouteChange>,
    ) -> Result<Publication, DataPlaneError> {
        let routes = self
            .catalog
            .publish(changes)
            .await
            .map_err(|error| DataPlaneError::Store(Box::new(error)))?;
        Ok(Publication {
            sequence: self.published.fetch_add(1, Ordering::Relaxed) + 1,
            epochs: routes
                .into_iter()
                .map(|(name, r)| (name, r.epoch))
                .collect(),
        })
    }

    async fn converge(&self, _: &Publication, barrier: Barrier, deadline: Duration) -> Convergence {
        if self.muted.load(Ordering::Relaxed) {
            sleep(deadline).await;
        }
        if self.refusing.load(Ordering::Relaxed) && matches!(barrier, Barrier::AllRegistered) {
            let words = "malformed".to_owned();
            return Convergence {
                refused: "app-1"
                    .parse()
                    .map(|node| (node, words))
                    .into_iter()
                    .collect(),
                ..Convergence::default()
            };
        }
        Convergence {
            reached: true,
            ..Convergence::default()
        }
    }

    async fn rehearse(&self, _: Duration) -> Result<Rehearsal, DataPlaneError> {
        Ok(Rehearsal::default())
    }

    async fn membership(&self) -> Result<Membership, DataPlaneError> {
        Ok(Membership::default())
    }
}

/// An engine on a runtime of its own, which can be ended as a process is.
pub(crate) struct Process {
    pub(crate) runtime: Runtime,
    pub(crate) engine: Arc<Engine>,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) fleet: Arc<Acknowledging>,
}

impl Process {
    pub(crate) fn start(store: EmbeddedStore, settings: Settings) -> Result<Self> {
        let catalog = Arc::new(Catalog::new(Arc::new(store)));
        let fleet = Arc::new(Acknowledging {
            catalog: Arc::clone(&catalog),
            published: AtomicU64::default(),
            muted: AtomicBool::default(),
            refusing: AtomicBool::default(),
        });
        let ports = Ports {
            catalog: Arc::clone(&catalog),
            data_plane: fleet.clone(),
            provider: Arc::new(PostgresProvider),
            alarms: Vec::new(),
            evidence: Arc::new(NoEvidence),
        };
        Ok(Self {
            runtime: Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()?,
            engine: Engine::new(ports, settings),
            catalog,
            fleet,
        })
    }
}
