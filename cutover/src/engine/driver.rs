//! One migration's task: requests and alarms in, commands out, every change journalled.

mod alarm_watch;
mod bake;
mod board;
mod commands;
mod inbox;
mod journal_writer;
mod leader;

use std::{sync::Arc, time::Duration};

use pointsman_catalog::store::Revision;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::{error::DriveError, status::Status};
use crate::{
    Settings,
    journal::{Entry, Journal},
    machine::{Command, Event},
    migration::Migration,
    ports::Ports,
};
use bake::BakeWatcher;
use commands::CommandRunner;
use inbox::{Inbox, hear};
use leader::{Leader, Next};

pub(super) use inbox::Request;

/// Drives one migration until the engine stops.
#[derive(Debug)]
pub(super) struct Driver {
    leader: Leader,
    inbox: Inbox,
    stop: CancellationToken,
    origin: Origin,
}

/// Where a driver's migration comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Origin {
    /// This process made it.
    Created,
    /// A former process left it.
    TakenOver,
}

/// A migration as it is on the disk.
#[derive(Debug)]
pub(super) struct Recorded {
    pub(super) migration: Migration,
    pub(super) revision: Revision,
    pub(super) entries: Vec<Entry>,
}

/// The way to one driver.
#[derive(Clone, Debug)]
pub(super) struct Handle {
    pub(super) requests: mpsc::Sender<Request>,
    pub(super) status: watch::Receiver<Arc<Status>>,
}

impl Driver {
    pub(super) fn new(
        ports: Ports,
        settings: Settings,
        journal: Journal,
        stop: CancellationToken,
        recorded: Recorded,
        origin: Origin,
    ) -> Self {
        let Recorded {
            migration,
            revision,
            entries,
        } = recorded;
        let commands = CommandRunner::new(ports, settings);
        Self {
            leader: Leader::new(commands, journal, migration, revision, entries),
            inbox: Inbox::new(),
            stop,
            origin,
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.leader.migration().name
    }

    pub(super) fn handle(&self) -> Handle {
        Handle {
            requests: self.inbox.sender(),
            status: self.leader.board().subscribe(),
        }
    }

    pub(super) async fn run(mut self) {
        if let Err(error) = self.drive().await {
            let cause = std::error::Error::source(&error)
                .map_or_else(String::new, |source| format!(": {source}"));
            error!(migration = %self.name(), "no longer driven: {error}{cause}");
            self.leader.show_abandoned(&format!("{error}{cause}"));
        }
    }

    async fn drive(&mut self) -> Result<(), DriveError> {
        if self.origin == Origin::TakenOver {
            let step = self.leader.owes().map(Command::label);
            let step = step.map_or_else(String::new, |step| format!(" in step {step}"));
            let reason = format!("the control plane was restarted{step}");
            self.leader.happened(Event::Restarted, reason).await?;
        }
        while !self.stop.is_cancelled() || self.leader.migration().state().outlasts_a_stop() {
            match self.leader.owes() {
                None => self.idle().await?,
                Some(Command::RestoreReaders) => self.look_after_readers().await?,
                Some(Command::AwaitPromotion) => self.await_promotion().await?,
                Some(Command::Watch | Command::Arm) => {
                    let watcher = BakeWatcher::begin(&self.leader);
                    Box::pin(watcher.watch(&mut self.leader, &mut self.inbox, &self.stop)).await?;
                }
                Some(
                    command @ (Command::SetUp
                    | Command::Step(..)
                    | Command::Undo(..)
                    | Command::RequestPromotion
                    | Command::Complete
                    | Command::Cancel),
                ) => {
                    self.inbox.hear_waiting(&mut self.leader).await?;
                    if self.leader.owes() == Some(command) {
                        self.execute(command).await?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Nothing is owed: waits for a request.
    async fn idle(&mut self) -> Result<(), DriveError> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Ok(()),
            Some(request) = self.inbox.next() => hear(&mut self.leader, request).await,
        }
    }

    /// Waits for a request; meanwhile gives readers their endpoint back after an undo.
    async fn look_after_readers(&mut self) -> Result<(), DriveError> {
        let clock = self.leader.commands().clock();
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Ok(()),
            Some(request) = self.inbox.next() => hear(&mut self.leader, request).await,
            () = clock.sleep(READERS_POLL) => {
                let whenever_it_answers = clock.deadline(Duration::MAX);
                self.leader.run(Command::RestoreReaders, whenever_it_answers).await?;
                Ok(())
            }
        }
    }

    /// Looks how far a managed promotion is; meanwhile hears requests. A stop does not wait for
    /// it: the next process goes on looking.
    async fn await_promotion(&mut self) -> Result<(), DriveError> {
        let clock = self.leader.commands().clock();
        let outlook = self.leader.migration().facts.promotion_outlook();
        let look_every = outlook.map_or(READERS_POLL, |outlook| outlook.look_every);
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Ok(()),
            Some(request) = self.inbox.next() => hear(&mut self.leader, request).await,
            () = clock.sleep(look_every) => {
                let whenever_it_answers = clock.deadline(Duration::MAX);
                self.leader.run(Command::AwaitPromotion, whenever_it_answers).await?;
                Ok(())
            }
        }
    }

    /// Runs a command until the machine has gone on. Past the point of no return a server that
    /// does not answer is tried again, with new sessions, until the time for a promotion is
    /// over.
    async fn execute(&mut self, command: Command) -> Result<(), DriveError> {
        let clock = self.leader.commands().clock();
        let patience = self
            .leader
            .commands()
            .patience(self.leader.migration())
            .await;
        let try_until = clock.deadline(patience);
        while self.leader.run(command, try_until).await? == Next::TryAgain {
            clock.sleep(RETRY).await;
        }
        Ok(())
    }
}

const READERS_POLL: Duration = Duration::from_millis(100);
const RETRY: Duration = Duration::from_millis(50);
