//! One migration's task: wishes and alarms in, commands out, every change journalled.

mod advance;
mod bake;
mod record;
mod wishes;

use std::{sync::Arc, time::Duration};

use pointsman_catalog::{UnixMillis, store::Revision};
use serde_json::json;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use self::record::label;
use super::{
    Engine, EngineError, Handle, Ports,
    status::{BakeView, Status},
};
use crate::{
    Settings,
    journal::{Entry, EntryKind, Journal, JournalError, Line},
    machine::{Command, Event, State, Step},
    migration::Migration,
    ports::Monotonic,
    steps::{self, Failure, Run, Sessions},
};

/// What an operator, or a caller on their behalf, wants of one migration.
#[derive(Clone, Debug)]
pub(super) enum Wish {
    PreflightPassed(UnixMillis),
    Start,
    Switch,
    Rollback { accept_loss: bool },
    Complete { source_is_gone: bool },
    Cancel,
    Resolve(String),
}

/// A wish, and where to say whether the machine took it.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) wish: Wish,
    pub(super) reply: oneshot::Sender<Result<(), EngineError>>,
}

/// Drives one migration until the engine stops.
#[derive(Debug)]
pub(super) struct Driver {
    ports: Ports,
    settings: Settings,
    journal: Journal,
    stop: CancellationToken,
    migration: Migration,
    /// Of the record, as this leader wrote it last: another leader's write ends this one.
    revision: Revision,
    entries: Arc<Vec<Entry>>,
    sessions: Sessions,
    view: BakeView,
    /// Lines that the next durable write takes along.
    unwritten: Vec<Line>,
    taken_over: bool,
    switch_began: Monotonic,
    requests: mpsc::Receiver<Request>,
    requests_in: mpsc::Sender<Request>,
    status: watch::Sender<Arc<Status>>,
}

impl Driver {
    /// Drives a migration that this process made.
    pub(super) fn new(
        engine: &Engine,
        migration: Migration,
        revision: Revision,
        entries: Vec<Entry>,
    ) -> Self {
        let entries = Arc::new(entries);
        let view = BakeView::default();
        let status = Status::new(&migration, Arc::clone(&entries), &view);
        let (requests_in, requests) = mpsc::channel(PENDING_REQUESTS);
        Self {
            ports: engine.ports.clone(),
            settings: engine.settings,
            journal: engine.journal.clone(),
            stop: engine.stop.clone(),
            migration,
            revision,
            entries,
            sessions: Sessions::default(),
            view,
            unwritten: Vec::new(),
            taken_over: false,
            switch_began: engine.ports.clock.monotonic(),
            requests,
            requests_in,
            status: watch::channel(Arc::new(status)).0,
        }
    }

    /// Drives a migration that a former process left.
    pub(super) fn taken_over(
        engine: &Engine,
        migration: Migration,
        revision: Revision,
        entries: Vec<Entry>,
    ) -> Self {
        Self {
            taken_over: true,
            ..Self::new(engine, migration, revision, entries)
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.migration.name
    }

    pub(super) fn handle(&self) -> Handle {
        Handle {
            requests: self.requests_in.clone(),
            status: self.status.subscribe(),
        }
    }

    pub(super) async fn run(mut self) {
        let name = self.migration.name.clone();
        if let Err(error) = self.drive().await {
            let cause = std::error::Error::source(&error)
                .map_or_else(String::new, |source| format!(": {source}"));
            error!(migration = %name, "no longer driven: {error}{cause}");
        }
    }

    async fn drive(&mut self) -> Result<(), JournalError> {
        if self.taken_over && !self.migration.state.is_over() {
            self.change(Event::Restarted, "a new process took over".to_owned())
                .await?;
        }
        while !self.stop.is_cancelled() || self.in_between() {
            match self.migration.state.command() {
                None => self.idle().await?,
                Some(Command::Watch | Command::Arm) => self.bake().await?,
                Some(command) => {
                    self.hear_wishes().await?;
                    if self.migration.state.command() == Some(command) {
                        self.execute(command).await?;
                    }
                }
            }
        }
        Ok(())
    }

    /// A switch or its undo ends before this leader stops: nobody else would release what
    /// it holds.
    fn in_between(&self) -> bool {
        matches!(
            self.migration.state,
            State::Switching { .. } | State::Undoing { .. }
        )
    }

    /// Waits for a wish; meanwhile gives readers their endpoint back after an undo.
    async fn idle(&mut self) -> Result<(), JournalError> {
        let readers_wait = self.migration.facts.readers_wait;
        let clock = Arc::clone(&self.ports.clock);
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Ok(()),
            Some(request) = self.requests.recv() => self.consider(request).await,
            () = clock.sleep(READERS_POLL), if readers_wait => self.restore_readers().await,
        }
    }

    /// Readers return as soon as their former endpoint lets connections in again.
    async fn restore_readers(&mut self) -> Result<(), JournalError> {
        let moving = self.migration.moving();
        let mut run = self.step_run();
        match steps::readers_pass(&mut run, &moving).await {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(_unreachable) => {
                // A restarted server has none of the former sessions.
                self.sessions.clear();
                return Ok(());
            }
        }
        let mut run = self.step_run();
        match steps::restore_readers(&mut run).await {
            Ok(()) => {
                self.migration.facts.readers_wait = false;
                let words = "readers are served by their former endpoints again";
                self.note("readers", words.to_owned(), json!({})).await
            }
            Err(failure) => {
                warn!(migration = %self.migration.name, "readers not restored: {}", failure.words);
                Ok(())
            }
        }
    }

    /// Runs a command to its end and advances the machine by what came of it.
    async fn execute(&mut self, command: Command) -> Result<(), JournalError> {
        let began = self.ports.clock.monotonic();
        let outcome = self.perform(command).await;
        let took = self.ports.clock.elapsed(began);
        match outcome {
            Ok(proof) => {
                let line = self.line(command, EntryKind::Done, took, proof.words, proof.evidence);
                self.advance(Event::Done, line).await
            }
            Err(failure) => {
                // Past the point of no return a failure cannot be taken back.
                let event = match self.migration.state.apply(failure.event) {
                    Ok(_) => failure.event,
                    Err(_) => Event::Unprovable,
                };
                self.migration.cause = Some(failure.words.clone());
                self.sessions.clear();
                let line = self.line(command, EntryKind::Failed, took, failure.words, json!({}));
                self.advance(event, line).await
            }
        }
    }

    /// Past the point of no return a server that does not answer is tried again, with new
    /// sessions, until the step's budget is spent.
    async fn perform(&mut self, command: Command) -> Result<steps::Proof, Failure> {
        let committed = match command {
            Command::Step(direction, step) => step >= Step::point_of_no_return(direction),
            Command::Undo(..) => true,
            Command::SetUp
            | Command::Arm
            | Command::Watch
            | Command::Complete
            | Command::Cancel => false,
        };
        let clock = Arc::clone(&self.ports.clock);
        let give_up = clock.deadline(self.settings.promote);
        loop {
            let budget = self.budget(command);
            let mut run = self.step_run();
            let outcome = clock
                .timeout(budget, steps::perform(&mut run, command))
                .await
                .unwrap_or_else(|_elapsed| Err(overran(command, budget)));
            match outcome {
                Err(failure) if failure.unreachable && committed && !give_up.has_passed() => {
                    info!(migration = %self.migration.name, "trying again: {}", failure.words);
                    self.sessions.clear();
                    clock.sleep(RETRY).await;
                }
                outcome => return outcome,
            }
        }
    }

    /// Before the point of no return every step ends early enough for an undo to fit into
    /// what is left of the hold.
    fn budget(&self, command: Command) -> Duration {
        let hold_left = self
            .migration
            .facts
            .hold_until
            .map(|until| until.since(self.ports.clock.now()));
        match command {
            Command::Step(direction, step)
                if step > Step::Hold && step < Step::point_of_no_return(direction) =>
            {
                hold_left
                    .unwrap_or(self.settings.hold_budget)
                    .saturating_sub(self.settings.hold_budget / 4)
                    .max(SHORTEST_STEP)
            }
            Command::Step(..) => self.settings.promote + self.settings.hold_budget,
            Command::SetUp
            | Command::Undo(..)
            | Command::Arm
            | Command::Watch
            | Command::Complete
            | Command::Cancel => LONGEST_COMMAND,
        }
    }

    fn step_run(&mut self) -> Run<'_> {
        Run {
            ports: &self.ports,
            settings: &self.settings,
            migration: &mut self.migration,
            sessions: &mut self.sessions,
        }
    }
}

fn overran(command: Command, budget: Duration) -> Failure {
    Failure {
        unreachable: true,
        ..Failure::new(format!(
            "step {} did not end within {budget:?}",
            label(Some(command))
        ))
    }
}

/// More than one operator's wishes at once are refused as busy.
const PENDING_REQUESTS: usize = 8;
const READERS_POLL: Duration = Duration::from_millis(100);
const RETRY: Duration = Duration::from_millis(50);
const SHORTEST_STEP: Duration = Duration::from_millis(200);
/// Each wait inside these commands has a deadline of its own; this one is for bugs.
const LONGEST_COMMAND: Duration = Duration::from_secs(120);
