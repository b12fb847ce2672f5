//! The engine as a process of its own would run it, without sidecars.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use async_trait::async_trait;
use pointsman_catalog::{
    Catalog, DatabaseName, NodeId, RouteChange, ServerName, store::EmbeddedStore,
};
use pointsman_cutover::{
    Engine, Ports, Settings,
    checks::CheckSet,
    ports::{
        Alarm, AlarmSource, AlarmSubject, BarrierPolicy, Convergence, DataPlane, DataPlaneError,
        DatabaseProvider, Evidence, Membership, Providers, Publication, Reached, Rehearsal,
        SessionsOn, SystemClock,
    },
    providers::postgres::{self, PostgresProvider, SecretSources},
};
use pointsman_lab::store::FaultInjectingStore;
use pointsman_tests::reached_by_sql::ReachedBySql;
use tokio::{
    runtime::{Builder, Runtime},
    sync::Notify,
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use super::{api::PromotionApi, roles::UnpromotableTarget};

/// Records routes in the catalogue as the real one does, and has no sidecars.
#[derive(Debug)]
pub(crate) struct Acknowledging {
    catalog: Arc<Catalog>,
    published: AtomicU64,
    /// Every acknowledgement takes its time.
    pub(crate) muted: AtomicBool,
    /// One sidecar refuses every publish that all must acknowledge.
    pub(crate) refusing: AtomicBool,
    /// A change that moves nothing is refused by one.
    pub(crate) contrary: AtomicBool,
    /// The next wait for acknowledgements panics.
    pub(crate) faulty: AtomicBool,
}

/// What sidecar `app-1` says: of its sessions on the source, and of trying the target.
#[derive(Debug, Default)]
pub(crate) struct Reporting {
    pub(crate) on_blue: AtomicU64,
    /// It says nothing of that without.
    pub(crate) target: Mutex<Option<Reached>>,
}

#[async_trait]
impl Evidence for Reporting {
    fn sessions(&self, databases: &[DatabaseName], server: &ServerName) -> SessionsOn {
        let open = self.on_blue.load(Ordering::Relaxed);
        let asked = server.as_str() == "blue" && databases.len() == 2;
        let open = (asked && open > 0).then(|| ("app-1".parse(), open));
        SessionsOn {
            open: open
                .into_iter()
                .filter_map(|(node, open)| Some((node.ok()?, open)))
                .collect(),
            ..SessionsOn::default()
        }
    }

    fn delay(&self) -> Duration {
        Duration::ZERO
    }

    async fn reach(
        &self,
        _: &[DatabaseName],
        server: &ServerName,
        _: Duration,
    ) -> BTreeMap<NodeId, Reached> {
        let said = self.target.lock().unwrap_or_else(PoisonError::into_inner);
        let said = said.clone().filter(|_| server.as_str() == "green");
        let node = "app-1".parse().ok();
        node.zip(said).into_iter().collect()
    }
}

/// An alarm that a test fires.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    pub(crate) rung: Notify,
}

#[async_trait]
impl AlarmSource for Bell {
    fn name(&self) -> &'static str {
        "bell"
    }

    async fn watch(&self, _: &AlarmSubject, stop: CancellationToken) -> Option<Alarm> {
        tokio::select! {
            () = stop.cancelled() => None,
            () = self.rung.notified() => Some(Alarm {
                source: "bell".to_owned(),
                reason: "it rang".to_owned(),
            }),
        }
    }
}

fn refused_by_one() -> Convergence {
    let message = "malformed".to_owned();
    let node = "app-1".parse();
    Convergence {
        refused: node.map(|node| (node, message)).into_iter().collect(),
        ..Convergence::default()
    }
}

#[async_trait]
impl DataPlane for Acknowledging {
    async fn publish(
        &self,
        changes: &BTreeMap<DatabaseName, RouteChange>,
    ) -> Result<Publication, DataPlaneError> {
        let changed = self
            .catalog
            .change_routes(changes)
            .await
            .map_err(|error| DataPlaneError::Store(Box::new(error)))?;
        Ok(Publication {
            sequence: self.published.fetch_add(1, Ordering::Relaxed) + 1,
            epochs: changed
                .routes
                .into_iter()
                .map(|(name, r)| (name, r.epoch))
                .collect(),
        })
    }

    async fn converge(
        &self,
        _: &Publication,
        barrier: BarrierPolicy,
        deadline: Duration,
    ) -> Convergence {
        assert!(!self.faulty.swap(false, Ordering::Relaxed), "planted");
        if self.muted.load(Ordering::Relaxed) {
            sleep(deadline).await;
        }
        if self.refusing.load(Ordering::Relaxed) && matches!(barrier, BarrierPolicy::AllRegistered)
        {
            return refused_by_one();
        }
        Convergence {
            reached: true,
            ..Convergence::default()
        }
    }

    async fn rehearse(&self, _: Duration) -> Result<Rehearsal, DataPlaneError> {
        let contrary = self.contrary.load(Ordering::Relaxed);
        Ok(Rehearsal {
            canaries: None,
            fleet: contrary.then(refused_by_one),
        })
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
    pub(crate) store: Arc<FaultInjectingStore>,
    pub(crate) fleet: Arc<Acknowledging>,
    pub(crate) evidence: Arc<Reporting>,
    pub(crate) bell: Arc<Bell>,
    pub(crate) unpromotable_target: Arc<ReachedBySql<UnpromotableTarget>>,
}

impl Process {
    pub(crate) fn start(
        store: EmbeddedStore,
        settings: Settings,
        api: PromotionApi,
    ) -> Result<Self> {
        let store = Arc::new(FaultInjectingStore::new(Arc::new(store)));
        let catalog = Arc::new(Catalog::new(store.clone()));
        let fleet = Arc::new(Acknowledging {
            catalog: Arc::clone(&catalog),
            published: AtomicU64::default(),
            muted: AtomicBool::default(),
            refusing: AtomicBool::default(),
            contrary: AtomicBool::default(),
            faulty: AtomicBool::default(),
        });
        let evidence = Arc::new(Reporting::default());
        let bell = Arc::new(Bell::default());
        let sql: Arc<dyn DatabaseProvider> =
            Arc::new(PostgresProvider::new(SecretSources::unrestricted()));
        let unpromotable_target = Arc::new(ReachedBySql {
            sql: Arc::clone(&sql),
            difference: UnpromotableTarget::default(),
        });
        let promoted_by_api = ReachedBySql {
            sql: Arc::clone(&sql),
            difference: api,
        };
        let ports = Ports {
            catalog: Arc::clone(&catalog),
            clock: Arc::new(SystemClock::default()),
            data_plane: fleet.clone(),
            providers: Providers::new(vec![
                unpromotable_target.clone(),
                Arc::new(promoted_by_api),
                sql,
            ]),
            alarms: vec![bell.clone()],
            evidence: evidence.clone(),
            checks: CheckSet::new(postgres::CHECKS),
        };
        Ok(Self {
            runtime: Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()?,
            engine: Engine::new(ports, settings),
            catalog,
            store,
            fleet,
            evidence,
            bell,
            unpromotable_target,
        })
    }
}
