//! Drives migrations: journals the intent, runs the step, journals the evidence.

mod abandon;
mod choice;
mod create;
mod driver;
mod dry_run;
mod error;
mod moment;
mod request;
mod status;
mod supervisor;
mod target_watch;

use std::{
    collections::BTreeMap,
    sync::{Arc, MutexGuard, PoisonError},
    time::Duration,
};

use pointsman_catalog::{Chain, ServerName};
use tokio::sync::{mpsc, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::error;

use crate::{
    Settings,
    checks::{Moment, Report},
    journal::{Journal, JournalError, Replay, Stored},
    machine::{Direction, Event, NotPossible, State},
    migration::Migration,
    ports::Ports,
    preflight,
};

use driver::{Asked, Handle, Means, Origin, Recorded, Request};
use request::OperatorRequest;

pub use choice::{Choice, ChoiceName};
pub use create::NewMigration;
use error::describe;
pub use error::{EngineError, ErrorKind};
pub use status::{Status, WayBack, WayBackKind};
use supervisor::Supervisor;

/// All migrations of this control plane, each driven by a task of its own.
#[derive(Debug)]
pub struct Engine {
    means: Means,
    drivers: std::sync::Mutex<BTreeMap<String, Handle>>,
    /// Why a record could not be read, by the migration's name.
    unreadable: std::sync::Mutex<BTreeMap<String, String>>,
    /// One creation at a time: whether a server is free must not change meanwhile.
    creating: tokio::sync::Mutex<()>,
    tasks: TaskTracker,
}

impl Engine {
    /// An engine that drives nothing yet.
    pub fn new(ports: Ports, settings: Settings) -> Arc<Self> {
        let stop = CancellationToken::new();
        let (store, clock) = (Arc::clone(ports.catalog.store()), Arc::clone(&ports.clock));
        let means = Means {
            journal: Journal::new(store, clock),
            ports,
            settings,
            stop,
        };
        Arc::new(Self {
            means,
            drivers: std::sync::Mutex::default(),
            unreadable: std::sync::Mutex::default(),
            creating: tokio::sync::Mutex::default(),
            tasks: TaskTracker::new(),
        })
    }

    /// Takes over what a former process left in the store, under a new epoch each. A migration
    /// whose record is broken keeps no other from being driven.
    ///
    /// # Errors
    /// The store cannot be read at all.
    pub async fn resume(&self) -> Result<(), EngineError> {
        let journal = &self.means.journal;
        for Stored { name, record } in journal.migrations().await? {
            match record {
                Ok((migration, _)) => {
                    let read = Recorded::read(journal, &name).await;
                    self.spawn(&migration, read, Origin::FormerProcess);
                }
                Err(unread) => {
                    let cause = Chain(&unread).to_string();
                    error!(migration = %name, "not driven: its record cannot be read: {cause}");
                    self.unreadable().insert(name, cause);
                }
            }
        }
        Ok(())
    }

    /// The migrations whose records could not be read when this process began, each with the
    /// reason. Nobody drives them.
    pub fn unreadable_migrations(&self) -> BTreeMap<String, String> {
        self.unreadable().clone()
    }

    /// Records a new migration; touches no server.
    pub async fn create(&self, wanted: NewMigration) -> Result<Status, EngineError> {
        let _one_at_a_time = self.creating.lock().await;
        if let Some((name, cause)) = self.unreadable_migrations().into_iter().next() {
            return Err(EngineError::Unreadable { name, cause });
        }
        let migration = create::plan(&self.means.ports.catalog, &self.list(), wanted).await?;
        let revision = self.means.journal.create(&migration).await?;
        let name = migration.name.clone();
        let recorded = Recorded {
            migration: migration.clone(),
            revision,
            entries: Vec::new(),
        };
        self.spawn(&migration, Ok(recorded), Origin::Created);
        self.status(&name)
    }

    /// Runs the checks; a report without a block is recorded and lets a switch begin.
    pub async fn preflight(&self, name: &str) -> Result<Report, EngineError> {
        let migration = self.migration(name)?;
        let report = preflight::run(
            &self.means.ports,
            &self.means.settings,
            &migration,
            Moment::Pre,
        )
        .await?;
        if report.blocking().next().is_none() {
            self.ask(name, OperatorRequest::RecordPreflight(report.at))
                .await?;
        }
        Ok(report)
    }

    /// Whether the machine allows what is on record of it.
    ///
    /// # Errors
    /// There is no such migration, or its record cannot be read.
    pub async fn verify(&self, name: &str) -> Result<Replay, EngineError> {
        self.status(name)?;
        Ok(self.means.journal.replay(name).await?)
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

    /// Gives up a rollback that waits for the reverse stream; the target serves on. What asked for
    /// it gets this as the cause.
    pub async fn withdraw_rollback(&self, name: &str) -> Result<Status, EngineError> {
        self.ask(name, OperatorRequest::WithdrawRollback).await?;
        self.settled(name).await
    }

    /// Gives up what others did on the source in the bake. What they do afterwards is not given
    /// up.
    pub async fn accept_source_writes(&self, name: &str) -> Result<(), EngineError> {
        self.ask(name, OperatorRequest::AcceptSourceWrites).await
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

    /// Ends a migration that nothing else ends, by an operator's word: what stands on both servers is
    /// given up, by their names, and nothing is touched there.
    pub async fn abandon(&self, name: &str, leave: &[ServerName]) -> Result<Status, EngineError> {
        let migration = self.migration(name)?;
        let event = Event::AbandonRequested;
        migration
            .state()
            .apply(event)
            .map_err(|refused| EngineError::not_possible(name, refused))?;
        abandon::permit(&self.means.ports, &migration, leave).await?;
        self.ask(name, OperatorRequest::Abandon).await?;
        self.ended_in(name, State::Abandoned, "be abandoned").await
    }

    /// An operator's decision, by the name of one of the status's choices.
    pub async fn resolve(&self, name: &str, choice: &str) -> Result<Status, EngineError> {
        let choice: ChoiceName = choice.parse().map_err(EngineError::Invalid)?;
        self.ask(name, OperatorRequest::Resolve(choice)).await?;
        let status = self.settled(name).await?;
        let baking = matches!(status.migration.state(), State::Baking { .. });
        if baking && choice == ChoiceName::OpenSourceUnproven {
            return Err(could_not(&status, "open the source"));
        }
        Ok(status)
    }

    /// Parks a migration whose routes somebody moves by hand, for `reason`: nothing but the
    /// dropping of slots that keep too much WAL is done to its servers before an operator decides.
    pub async fn park(&self, name: &str, reason: String) -> Result<(), EngineError> {
        self.ask(name, OperatorRequest::Park { reason }).await
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
        dry_run::run(
            &self.means.ports,
            &self.means.settings,
            migration,
            direction,
        )
        .await
    }

    /// Stops every driver at its next journal entry and waits for that.
    pub async fn shutdown(&self) {
        self.means.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn spawn(&self, migration: &Migration, read: Result<Recorded, JournalError>, origin: Origin) {
        let supervisor = Supervisor::new(self.means.clone(), migration);
        self.drivers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(migration.name.clone(), supervisor.handle());
        self.tasks.spawn(supervisor.run(read, origin));
    }

    fn unreadable(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.unreadable
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn handles(&self) -> BTreeMap<String, Handle> {
        self.drivers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn handle(&self, name: &str) -> Result<Handle, EngineError> {
        let mut handles = self.handles();
        if let Some(handle) = handles.remove(name) {
            return Ok(handle);
        }
        let name = name.to_owned();
        Err(match self.unreadable().get(&name) {
            Some(cause) => EngineError::Unreadable {
                name,
                cause: cause.clone(),
            },
            None => EngineError::Unknown {
                name,
                known: handles.into_keys().collect(),
            },
        })
    }

    /// The record behind the newest status.
    fn migration(&self, name: &str) -> Result<Migration, EngineError> {
        Ok(self.handle(name)?.status.borrow().migration.clone())
    }

    /// Asks the driver; an answer means that the machine took the event, durably. A request that
    /// no driver has heard before the migration is driven no more is withdrawn.
    async fn ask(&self, name: &str, request: OperatorRequest) -> Result<(), EngineError> {
        let Handle {
            requests,
            mut status,
        } = self.handle(name)?;
        driven(name, &status.borrow_and_update())?;
        let (request, Asked { heard, answer }) = Request::new(request);
        requests.try_send(request).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => EngineError::Busy {
                name: name.to_owned(),
            },
            mpsc::error::TrySendError::Closed(_) => stopped(name),
        })?;
        tokio::select! {
            biased;
            // A dropped request was not heard, and its answer says so.
            _ = heard => {}
            status = status.wait_for(|status| status.not_driven.is_some()) => {
                driven(name, &*status.map_err(|_closed| stopped(name))?)?;
            }
        }
        if let Ok(answer) = answer.await {
            return answer;
        }
        let status = status.wait_for(|status| status.not_driven.is_some()).await;
        driven(name, &*status.map_err(|_closed| stopped(name))?)
    }

    /// Waits like [`Self::settled`]; any end but `wanted` is a refusal with its cause.
    async fn ended_in(&self, name: &str, wanted: State, verb: &str) -> Result<Status, EngineError> {
        let status = self.settled(name).await?;
        if status.migration.state() == wanted {
            return Ok(status);
        }
        Err(could_not(&status, verb))
    }

    /// Waits until nothing is under way any more. A migration that is driven by nobody for a
    /// while is waited for no longer.
    async fn settled(&self, name: &str) -> Result<Status, EngineError> {
        let mut status = self.handle(name)?.status;
        loop {
            let seen = status
                .wait_for(|status| {
                    !status.migration.state().is_moving() || status.not_driven.is_some()
                })
                .await
                .map_err(|_closed| stopped(name))?
                .clone();
            if seen.not_driven.is_none() {
                return Ok(Status::clone(&seen));
            }
            let clock = &self.means.ports.clock;
            let driven_again = status.wait_for(|status| status.not_driven.is_none());
            if clock
                .timeout(UNDRIVEN_PATIENCE, driven_again)
                .await
                .is_err()
            {
                driven(name, &status.borrow())?;
            }
        }
    }
}

fn stopped(name: &str) -> EngineError {
    EngineError::Stopped {
        name: name.to_owned(),
    }
}

/// A migration that nobody drives takes no request.
fn driven(name: &str, status: &Status) -> Result<(), EngineError> {
    match &status.not_driven {
        None => Ok(()),
        Some(cause) => Err(EngineError::NotDriven {
            name: name.to_owned(),
            cause: cause.clone(),
        }),
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

/// Twice as long as a failing journal is tried at once.
const UNDRIVEN_PATIENCE: Duration = Duration::from_secs(10);
