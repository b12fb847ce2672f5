//! The engine as a process: it can die, be stopped, and go on too late.

use std::{sync::Arc, time::Duration};

use anyhow::Result;
use async_trait::async_trait;
use pointsman_catalog::{Catalog, Store};
use pointsman_cutover::{
    Engine, Ports, Settings,
    checks::CheckSet,
    ports::{Alarm, AlarmSource, AlarmSubject, Clock, NoEvidence, Providers},
};
use tokio::{
    runtime::{Builder, Runtime},
    sync::Notify,
    task::{JoinHandle, yield_now},
};
use tokio_util::sync::CancellationToken;

use crate::{
    clock::SimulatedClock, fleet::SimulatedFleet, provider::SimulatedProvider,
    store::SimulatedStore, world::Shared,
};

/// An engine on a runtime of its own, which ends with it.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) engine: Arc<Engine>,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) store: Arc<SimulatedStore>,
    pub(crate) clock: Arc<dyn Clock>,
    bell: Arc<Bell>,
    runtime: Runtime,
}

/// An alarm that the run fires.
#[derive(Debug, Default)]
struct Bell {
    rung: Notify,
}

#[async_trait]
impl AlarmSource for Bell {
    fn name(&self) -> &'static str {
        "bell"
    }

    async fn watch(&self, _subject: &AlarmSubject, stop: CancellationToken) -> Option<Alarm> {
        tokio::select! {
            biased;
            () = stop.cancelled() => None,
            () = self.rung.notified() => Some(Alarm {
                source: "bell".to_owned(),
                reason: "it rang".to_owned(),
            }),
        }
    }
}

/// Shorter than what operators have, so that a run is short.
fn settings() -> Settings {
    Settings {
        hold_budget: Duration::from_secs(4),
        undo: Duration::from_secs(5),
        rollback_wait: Duration::from_secs(8),
        ..Settings::default()
    }
}

impl Process {
    /// A process that drives nothing yet.
    pub(crate) fn start(shared: &Shared) -> Result<Self> {
        let store = Arc::new(SimulatedStore::new(shared));
        let opened: Arc<dyn Store> = store.clone();
        let catalog = Arc::new(Catalog::new(opened));
        let clock: Arc<dyn Clock> = Arc::new(SimulatedClock {
            shared: shared.clone(),
        });
        let bell = Arc::new(Bell::default());
        let fleet = SimulatedFleet {
            shared: shared.clone(),
            catalog: Arc::clone(&catalog),
        };
        let provider = SimulatedProvider {
            shared: shared.clone(),
        };
        let ports = Ports {
            catalog: Arc::clone(&catalog),
            clock: Arc::clone(&clock),
            data_plane: Arc::new(fleet),
            providers: Providers::new(vec![Arc::new(provider)]),
            alarms: vec![bell.clone()],
            evidence: Arc::new(NoEvidence),
            checks: CheckSet::new(&[]),
        };
        Ok(Self {
            engine: Engine::new(ports, settings()),
            catalog,
            store,
            clock,
            bell,
            // Nothing here has another clock than the simulation's.
            runtime: Builder::new_current_thread()
                .event_interval(1 << 20)
                .build()?,
        })
    }

    /// Goes on until everybody waits.
    pub(crate) fn go_on(&self) {
        self.runtime.block_on(async {
            for _ in 0..ROUNDS {
                yield_now().await;
            }
        });
    }

    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.runtime.spawn(task)
    }

    /// The outcome of a task that has ended.
    pub(crate) fn outcome<T>(&self, task: JoinHandle<T>) -> Result<T> {
        Ok(self.runtime.block_on(task)?)
    }

    pub(crate) fn ring(&self) {
        self.bell.rung.notify_one();
    }
}

/// A task that yields goes on in the next round.
const ROUNDS: usize = 3;
