//! Drives migrations: journals the intent, runs the step, journals the evidence.

mod choice;
mod create;
mod driver;
mod dry_run;
mod error;
mod request;
mod status;

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError},
};

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    Settings,
    checks::{Moment, Report},
    journal::Journal,
    machine::{Direction, Event, NotPossible, State},
    migration::Migration,
    ports::Ports,
    preflight,
};

use driver::{Driver, Handle, Origin, Recorded, Request};
use request::OperatorRequest;

pub use choice::{Choice, ChoiceName};
pub use create::NewMigration;
use error::describe;
pub use error::{EngineError, ErrorKind};
pub use status::{Status, WayBack, WayBackKind};

/// All migrations of this control plane, each driven by a task of its own.
#[derive(Debug)]
pub struct Engine {
    ports: Ports,
    settings: Settings,
    journal: Journal,
    drivers: std::sync::Mutex<BTreeMap<String, Handle>>,
    /// One creation at a time: whether a server is free must not change meanwhile.
    creating: tokio::sync::Mutex<()>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Engine {
    /// An engine that drives nothing yet.
    pub fn new(ports: Ports, settings: Settings) -> Arc<Self> {
        let journal = Journal::new(Arc::clone(ports.catalog.store()), Arc::clone(&ports.clock));
        Arc::new(Self {
            ports,
            settings,
            journal,
            drivers: std::sync::Mutex::default(),
            creating: tokio::sync::Mutex::default(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        })
    }

    /// Takes over what a former process left in the store, under a new epoch each.
    pub async fn resume(&self) -> Result<(), EngineError> {
        for (migration, revision) in self.journal.migrations().await? {
            let entries = self.journal.entries(&migration.name).await?;
            let recorded = Recorded {
                migration,
                revision,
                entries,
            };
            self.spawn(recorded, Origin::TakenOver);
        }
        Ok(())
    }

    /// Records a new migration; touches no server.
    pub async fn create(&self, wanted: NewMigration) -> Result<Status, EngineError> {
        let _one_at_a_time = self.creating.lock().await;
        let migration = create::plan(&self.ports.catalog, &self.list(), wanted).await?;
        let revision = self.journal.create(&migration).await?;
        let name = migration.name.clone();
        let recorded = Recorded {
            migration,
            revision,
            entries: Vec::new(),
        };
        self.spawn(recorded, Origin::Created);
        self.status(&name)
    }

    /// Runs the checks; a report without a block is recorded and lets a switch begin.
    pub async fn preflight(&self, name: &str) -> Result<Report, EngineError> {
        let migration = self.migration(name)?;
        let report = preflight::run(&self.ports, &self.settings, &migration, Moment::Pre).await?;
        if report.blocking().next().is_none() {
            self.ask(name, OperatorRequest::RecordPreflight(report.at))
                .await?;
        }
        Ok(report)
    }

    /// Prepares the source for a switch.
    pub async fn start(&self, name: &str) -> Result<Status, EngineError> {
        self.ask(name, OperatorRequest::Start).await?;
        self.ended_in(name, State::Prepared, "start").await
    }

    /// Switches to the target; returns when the switch has ended, whichever way.
    pub async fn switch(&self, name: &str) -> Result<Status, EngineError> {
        self.ask(name, OperatorRequest::Switch).await?;
        self.settled(name).await
    }

    /// Aborts a switch before its point of no return; switches back after it. Where that
    /// would lose writes nobody accepted, the refusal says how many.
    pub async fn rollback(&self, name: &str, accept_loss: bool) -> Result<Status, EngineError> {
        self.ask(name, OperatorRequest::Rollback { accept_loss })
            .await?;
        let status = self.settled(name).await?;
        if matches!(status.migration.state(), State::Baking { .. }) {
            return Err(could_not(&status, "roll back"));
        }
        Ok(status)
    }

    /// Gives up the way back and closes the source for good. `source_is_gone` is an
    /// operator's word for a source that does not answer any more: without it a completion
    /// wants to see the source closed.
    pub async fn complete(&self, name: &str, source_is_gone: bool) -> Result<Status, EngineError> {
        self.ask(name, OperatorRequest::Complete { source_is_gone })
            .await?;
        self.ended_in(name, State::Completed, "complete").await
    }

    /// Ends a migration that has not been switched.
    pub async fn cancel(&self, name: &str) -> Result<Status, EngineError> {
        self.ask(name, OperatorRequest::Cancel).await?;
        self.ended_in(name, State::Cancelled, "cancel").await
    }

    /// An operator's decision, by the name of one of the status's choices.
    pub async fn resolve(&self, name: &str, choice: &str) -> Result<Status, EngineError> {
        let choice = choice.parse().map_err(EngineError::Invalid)?;
        self.ask(name, OperatorRequest::Resolve(choice)).await?;
        self.settled(name).await
    }

    /// Where a migration stands.
    pub fn status(&self, name: &str) -> Result<Status, EngineError> {
        let status = self.watch(name)?;
        let status = Status::clone(&status.borrow());
        Ok(status)
    }

    /// Where all of them stand, by name.
    pub fn list(&self) -> Vec<Status> {
        let drivers = self.handles();
        drivers
            .values()
            .map(|handle| Status::clone(&handle.status.borrow()))
            .collect()
    }

    /// Follows a migration: the newest status, never a backlog.
    pub fn watch(&self, name: &str) -> Result<watch::Receiver<Arc<Status>>, EngineError> {
        Ok(self.handle(name)?.status)
    }

    /// Every statement, publish and wait that a switch would make, in order. Nothing is
    /// changed; roles and settings are read from the servers.
    pub async fn dry_run(
        &self,
        name: &str,
        direction: Direction,
    ) -> Result<Vec<String>, EngineError> {
        let migration = self.migration(name)?;
        // Before the start the checks miss what only the start makes.
        let state = migration.state();
        if matches!(state, State::Planned | State::SettingUp) {
            let event = Event::SwitchRequested;
            return Err(EngineError::not_possible(
                name,
                NotPossible { event, state },
            ));
        }
        dry_run::run(&self.ports, &self.settings, migration, direction).await
    }

    /// Stops every driver at its next journal entry and waits for that.
    pub async fn shutdown(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn spawn(&self, recorded: Recorded, origin: Origin) {
        let driver = Driver::new(
            self.ports.clone(),
            self.settings,
            self.journal.clone(),
            self.stop.clone(),
            recorded,
            origin,
        );
        let handle = driver.handle();
        let name = driver.name().to_owned();
        self.drivers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name, handle);
        self.tasks.spawn(driver.run());
    }

    fn handles(&self) -> BTreeMap<String, Handle> {
        self.drivers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn handle(&self, name: &str) -> Result<Handle, EngineError> {
        let mut handles = self.handles();
        handles.remove(name).ok_or_else(|| EngineError::Unknown {
            name: name.to_owned(),
            known: handles.into_keys().collect(),
        })
    }

    /// The record behind the newest status.
    fn migration(&self, name: &str) -> Result<Migration, EngineError> {
        Ok(self.handle(name)?.status.borrow().migration.clone())
    }

    /// Asks the driver; an answer means that the machine took the event, durably.
    async fn ask(&self, name: &str, request: OperatorRequest) -> Result<(), EngineError> {
        let handle = self.handle(name)?;
        let (reply, answer) = oneshot::channel();
        let gone = || EngineError::Stopped {
            name: name.to_owned(),
        };
        handle
            .requests
            .try_send(Request { request, reply })
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => EngineError::Busy {
                    name: name.to_owned(),
                },
                mpsc::error::TrySendError::Closed(_) => gone(),
            })?;
        answer.await.map_err(|_dropped| gone())?
    }

    /// Waits like [`Self::settled`]; any end but `wanted` is a refusal with its cause.
    async fn ended_in(&self, name: &str, wanted: State, verb: &str) -> Result<Status, EngineError> {
        let status = self.settled(name).await?;
        if status.migration.state() == wanted {
            return Ok(status);
        }
        Err(could_not(&status, verb))
    }

    /// Waits until nothing is under way any more.
    async fn settled(&self, name: &str) -> Result<Status, EngineError> {
        let mut status = self.handle(name)?.status;
        let settled = status
            .wait_for(|status| !status.migration.state().is_moving())
            .await
            .map_err(|_closed| EngineError::Stopped {
                name: name.to_owned(),
            })?;
        Ok(Status::clone(&settled))
    }
}

fn could_not(status: &Status, verb: &str) -> EngineError {
    let migration = &status.migration;
    let cause = migration.cause.as_deref().unwrap_or("no cause on record");
    EngineError::Refused(format!(
        "migration {:?} could not {verb}: {cause}; it is {} and can be asked again",
        migration.name,
        describe(migration.state())
    ))
}
