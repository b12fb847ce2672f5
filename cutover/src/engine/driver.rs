//! One migration's task: requests and alarms in, commands out, every change journalled.

mod alarm_watch;
mod bake;
mod board;
mod commands;
mod durability_watcher;
mod inbox;
mod journal_writer;
mod leader;
mod left_server_watcher;
mod others_watcher;
mod outage_watcher;
mod recorded;
mod slot_guard;
mod source_watcher;
mod synchronous_watcher;

use std::{sync::Arc, time::Duration};

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{error::DriveError, status::Status};
use crate::{
    Settings,
    journal::Journal,
    machine::{Command, Event, State},
    ports::Ports,
};
use bake::BakeWatcher;
use commands::CommandRunner;
use inbox::hear;
use leader::{Leader, Next};
use left_server_watcher::LeftServerWatcher;
use others_watcher::OthersWatcher;
use slot_guard::SlotGuard;

pub(super) use inbox::{Asked, Inbox, Request};
pub(super) use recorded::Recorded;

/// Drives one migration until the engine stops.
#[derive(Debug)]
pub(super) struct Driver<'a> {
    leader: Leader,
    others: OthersWatcher,
    slots: SlotGuard,
    left: LeftServerWatcher,
    inbox: &'a mut Inbox,
    stop: CancellationToken,
    origin: Origin,
}

/// Where a driver's migration comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Origin {
    /// This process made it.
    Created,
    /// A former process left it.
    FormerProcess,
    /// A driver of this process ended by a failure.
    FormerDriver,
}

/// The way to one driver.
#[derive(Clone, Debug)]
pub(super) struct Handle {
    pub(super) requests: mpsc::Sender<Request>,
    pub(super) status: watch::Receiver<Arc<Status>>,
}

/// What every driver of an engine works with.
#[derive(Clone, Debug)]
pub(super) struct Means {
    pub(super) ports: Ports,
    pub(super) settings: Settings,
    pub(super) journal: Journal,
    pub(super) stop: CancellationToken,
}

impl<'a> Driver<'a> {
    /// Takes requests from `inbox`, and shows in `shown` how the migration stands.
    pub(super) fn new(
        means: &Means,
        recorded: Recorded,
        origin: Origin,
        inbox: &'a mut Inbox,
        shown: watch::Sender<Arc<Status>>,
    ) -> Self {
        let commands = CommandRunner::new(means.ports.clone(), means.settings);
        Self {
            leader: Leader::new(commands, means.journal.clone(), recorded, shown),
            others: OthersWatcher::default(),
            slots: SlotGuard::default(),
            left: LeftServerWatcher::default(),
            inbox,
            stop: means.stop.clone(),
            origin,
        }
    }

    /// Returns when the engine stops.
    ///
    /// # Errors
    /// Nothing more can be recorded; the migration stands as the journal has it.
    pub(super) async fn drive(&mut self) -> Result<(), DriveError> {
        if let Some(what) = self.origin.interruption() {
            let step = self.leader.owes().map(Command::label);
            let step = step.map_or_else(String::new, |step| format!(" in step {step}"));
            let reason = format!("{what}{step}");
            self.leader.happened(Event::Restarted, reason).await?;
        }
        while !self.stop.is_cancelled() || self.leader.migration().state().outlasts_a_stop() {
            match self.leader.owes() {
                None => self.idle().await?,
                Some(Command::RestoreReaders) => self.look_after_readers().await?,
                Some(Command::AwaitPromotion) => self.await_promotion().await?,
                Some(Command::Watch | Command::Arm) => {
                    let watcher = BakeWatcher::begin(&self.leader);
                    Box::pin(watcher.watch(&mut self.leader, self.inbox, &self.stop)).await?;
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

    /// Nothing is owed: waits for a request. While an operator is waited for, the other servers and
    /// the slots are looked at; once the migration has ended, the server that it left.
    async fn idle(&mut self) -> Result<(), DriveError> {
        let clock = self.leader.commands().clock();
        let state = self.leader.migration().state();
        let left = self.left.watches(&self.leader);
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Ok(()),
            Some(request) = self.inbox.next() => hear(&mut self.leader, request).await,
            () = clock.sleep(others_watcher::EVERY), if matches!(state, State::NeedsOperator { .. }) => {
                self.others.look_outside_of_a_bake(&mut self.leader).await?;
                self.slots.look(&mut self.leader).await
            }
            () = clock.sleep(self.left.wait()), if left.is_some() => match left {
                Some(side) => self.left.look(&mut self.leader, side, &self.stop).await,
                None => Ok(()),
            }
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
        self.others.look_outside_of_a_bake(&mut self.leader).await?;
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

impl Origin {
    /// What ended the driver before this one.
    fn interruption(self) -> Option<&'static str> {
        match self {
            Self::Created => None,
            Self::FormerProcess => Some("the control plane was restarted"),
            Self::FormerDriver => Some("the migration was taken up again after a failure"),
        }
    }
}

const READERS_POLL: Duration = Duration::from_millis(100);
const RETRY: Duration = Duration::from_millis(50);

#[cfg(test)]
mod twice;
