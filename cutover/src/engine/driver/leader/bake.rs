//! What the leader looks at in a bake, and what it does for those whom an outage of the target meets.

use std::time::Duration;

use tracing::warn;

use crate::{
    Lsn,
    engine::error::DriveError,
    machine::{Command, Event, Side},
    migration::Learned,
    ports::StandbysSet,
    steps::{
        DurableLook, Failure, LeftServerLook, Others, SetAgain, SlotLook, SourceLook, StreamHealth,
        TargetSeen,
    },
};

use super::Leader;

impl Leader {
    /// Looks at the reverse stream.
    pub(in crate::engine::driver) async fn stream_health(
        &mut self,
    ) -> Result<StreamHealth, Failure> {
        let health = self.commands.stream_health(&self.migration).await;
        if health.is_err() {
            self.commands.forget_sessions();
        }
        self.note_target(health.as_ref().err());
        if let Some(lsn) = health.as_ref().ok().and_then(|health| health.confirmed) {
            let at = self.commands.clock().now();
            self.board.change(|view| view.target.has_confirmed(lsn, at));
        }
        self.show();
        health
    }

    /// Asks the target, and says why it is taken for silent.
    pub(in crate::engine::driver) async fn silence_of_target(&mut self) -> Option<String> {
        let asked = self.commands.target_answers(&self.migration).await;
        let failure = asked.err().filter(Failure::is_unanswered)?;
        Some(failure.message)
    }

    /// What a look at both servers, or at the target, says of the target.
    pub(super) fn note_target(&mut self, failure: Option<&Failure>) {
        let at = self.commands.clock().now();
        let target = &self.migration.target;
        self.board.change(|view| match failure {
            None => view.target.answers(),
            Some(failure) => view.target.failed(target, failure, at),
        });
    }

    /// Looks at the target of a bake.
    pub(in crate::engine::driver) async fn look_at_target(
        &mut self,
    ) -> Result<TargetSeen, Failure> {
        let seen = self.commands.look_at_target(&self.migration).await?;
        match &seen {
            TargetSeen::Silent(failure) => self.note_target(Some(failure)),
            // Those who are held are sent there first.
            TargetSeen::Serves | TargetSeen::Unclear(_) | TargetSeen::Changed(_) => {
                if self.migration.machine.held_since().is_none() {
                    self.note_target(None);
                }
            }
        }
        self.show();
        Ok(seen)
    }

    /// Whether the newest look found the target silent.
    pub(in crate::engine::driver) fn suspects_target(&self) -> bool {
        self.board.view().target.is_suspect()
    }

    /// Whether clients reach the target no more, or why that is not known.
    pub(in crate::engine::driver) async fn target_is_down(
        &mut self,
        silent: &Failure,
    ) -> Result<String, String> {
        self.commands.target_is_down(&self.migration, silent).await
    }

    /// New connections are held from now on, and until when is on record before.
    pub(in crate::engine::driver) async fn begin_to_hold(
        &mut self,
        why: &str,
    ) -> Result<(), DriveError> {
        let budget = self.commands.settings().hold_budget;
        let until = self.commands.clock().now().plus(budget);
        if let Err(missing) = self.migration.facts.learn(Learned::Held { until }) {
            self.show_bake(|view| view.target.holds_nobody(Some(missing.to_string())));
            return Ok(());
        }
        let reason = format!(
            "{} serves nobody: {why}; new connections are held for {budget:?}, and refused after that until \
             it serves again",
            self.migration.target
        );
        warn!(migration = %self.migration.name, "{reason}");
        self.board
            .change(|view| view.target.holds_nobody(Some(NOT_PUBLISHED.to_owned())));
        self.happened(Event::TargetDown, reason).await?;
        Ok(())
    }

    /// Publishes the hold of the outage, as far as that is not done. What could not be published is
    /// shown, and tried again by the next look.
    pub(in crate::engine::driver) async fn hold_writers(&mut self) {
        let Some(since) = self.migration.machine.held_since() else {
            return;
        };
        let held = self.commands.hold_for_target(&self.migration, since).await;
        let why = held.err().map(|failure| failure.message);
        self.show_bake(|view| view.target.holds_nobody(why));
    }

    /// Those who are held go to the target again.
    ///
    /// # Errors
    /// They could not be sent there, and are held on.
    pub(in crate::engine::driver) async fn release_writers(&mut self) -> Result<(), Failure> {
        match self.migration.machine.held_since() {
            Some(since) => {
                self.commands
                    .release_to_target(&self.migration, since)
                    .await
            }
            None => Ok(()),
        }
    }

    /// Why a rollback waits in vain: the target has been silent for too long.
    pub(in crate::engine::driver) fn silent_for_too_long(&self) -> Option<String> {
        let silence = self.board.view().target.silence()?;
        if silence.is_starting {
            return None;
        }
        let silent = self.commands.clock().now().since(silence.since);
        let (name, target) = (&self.migration.name, &self.migration.target);
        (silent > SILENCE).then(|| {
            format!(
                "{target} does not answer ({}); an operator decides: migration status {name} has the choices",
                silence.reason
            )
        })
    }

    /// Looks at the source that was left, and adds what was found to the record. It is on the disk
    /// with the next entry, or by [`Self::save`].
    pub(in crate::engine::driver) async fn look_at_source(
        &mut self,
        read: Duration,
    ) -> Result<SourceLook, Failure> {
        let look = self.commands.look_at_source(&self.migration, read).await?;
        for learned in look.learned() {
            self.migration.facts.learn(learned)?;
        }
        Ok(look)
    }

    /// Looks at the server that was left for good, and adds what was found to the record. It is on the
    /// disk with the next entry, or by [`Self::save`].
    pub(in crate::engine::driver) async fn look_at_left_server(
        &mut self,
        side: Side,
    ) -> Result<LeftServerLook, Failure> {
        let look = self
            .commands
            .look_at_left_server(&self.migration, side)
            .await?;
        let seen = Learned::Seen(side, look.seen.clone());
        self.migration.facts.learn(seen)?;
        Ok(look)
    }

    /// Looks how much WAL the slots of the reverse stream keep. That they are given up is on the disk
    /// with the next entry.
    pub(in crate::engine::driver) async fn look_at_slots(&mut self) -> Result<SlotLook, Failure> {
        let look = self.commands.look_at_slots(&self.migration).await?;
        if let SlotLook::TooMuch(given_up) = &look {
            self.migration.facts.learn(given_up.learned())?;
        }
        Ok(look)
    }

    /// Gives the target back which standbys its commits waited for, once they are connected.
    pub(in crate::engine::driver) async fn set_synchronous_again(
        &mut self,
    ) -> Result<SetAgain, Failure> {
        self.commands.set_synchronous_again(&self.migration).await
    }

    /// Looks whether commits on the target wait for the source.
    pub(in crate::engine::driver) async fn look_at_durability(
        &mut self,
    ) -> Result<DurableLook, Failure> {
        self.commands.look_at_durability(&self.migration).await
    }

    /// Brings what was written on the target so far to its disk. Returns where that ends.
    pub(in crate::engine::driver) async fn flush_target(&mut self) -> Result<Lsn, Failure> {
        self.commands.flush_target(&self.migration).await
    }

    /// Makes them wait, once it is on record what was set `before`.
    pub(in crate::engine::driver) async fn wait_for_source(
        &mut self,
        before: StandbysSet,
    ) -> Result<Result<(), Failure>, DriveError> {
        let message = format!(
            "commits on {} wait for {} from now on",
            self.migration.target, self.migration.source
        );
        if let Err(missing) = self.migration.facts.learn(Learned::Durable(Some(before))) {
            return Ok(Err(missing.into()));
        }
        self.note(Command::Watch.label(), message).await?;
        Ok(self.commands.wait_for_source(&self.migration).await)
    }

    /// They wait no more, which is said before it is done.
    pub(in crate::engine::driver) async fn wait_for_source_no_more(
        &mut self,
        why: &str,
    ) -> Result<Result<(), Failure>, DriveError> {
        let ended = match self.commands.wait_for_source_no_more(&self.migration).await {
            Ok(Some(ended)) => self.migration.facts.learn(ended),
            Ok(None) => return Ok(Ok(())),
            Err(failure) => return Ok(Err(failure)),
        };
        if let Err(missing) = ended {
            return Ok(Err(missing.into()));
        }
        let message = format!(
            "commits on {} wait for {} no more: {why}",
            self.migration.target, self.migration.source
        );
        warn!(migration = %self.migration.name, "{message}");
        self.note(Command::Watch.label(), message).await?;
        Ok(Ok(()))
    }

    /// Looks at the other servers of the same system.
    pub(in crate::engine::driver) async fn look_at_others(&mut self) -> Others {
        self.commands.look_at_others(&self.migration).await
    }
}

const NOT_PUBLISHED: &str = "the hold is on its way to the sidecars";
/// A server that was restarted answers within this time.
const SILENCE: Duration = Duration::from_secs(5);
