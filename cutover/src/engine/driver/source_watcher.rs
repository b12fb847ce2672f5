//! The source that was left, in a bake.

use std::time::Duration;

use tracing::error;

use super::leader::Leader;
use crate::{
    engine::{error::DriveError, status::NotKnown},
    machine::{Event, LeftSource},
    ports::Monotonic,
    steps::{Problem, SourceLook, disturbed},
};

/// Looks at the source every few seconds.
#[derive(Debug, Default)]
pub(super) struct SourceWatcher {
    looked: Option<Monotonic>,
    saved: Option<Monotonic>,
}

impl SourceWatcher {
    /// Looks, if it is time to. What somebody did there is an event of the machine; a source that
    /// does not answer is none.
    pub(super) async fn look(&mut self, leader: &mut Leader) -> Result<(), DriveError> {
        let clock = leader.commands().clock();
        let due = |since: Option<Monotonic>, after| {
            since.is_none_or(|since| clock.elapsed(since) >= after)
        };
        if !due(self.looked, EVERY) {
            return Ok(());
        }
        let look = match leader.look_at_source(READ).await {
            Ok(look) => look,
            Err(failure) => SourceLook {
                failure: Some(failure),
                ..SourceLook::default()
            },
        };
        self.looked = Some(clock.monotonic());
        let now = clock.now();
        let why = look.failure.as_ref().map(|failure| failure.message.clone());
        leader.show_bake(|view| {
            view.source.looked = true;
            view.source.not_known = NotKnown::still(view.source.not_known.take(), why, now);
            view.source.unreadable = look.unreadable;
        });
        let by_hand = look.failure.as_ref();
        if let Some(moved) = by_hand.filter(|it| it.problem == Problem::MovedByHand) {
            leader
                .happened(Event::MovedByHand, moved.message.clone())
                .await?;
            return Ok(());
        }
        let migration = leader.migration();
        let said = migration.machine.left_source() == LeftSource::Disturbed;
        if look.opened || (look.is_disturbed() && !said) {
            let reason = disturbed(migration, &look);
            error!(migration = %migration.name, "{reason}");
            leader.happened(Event::SourceFenceBroken, reason).await?;
        } else if due(self.saved, SAVE) {
            leader.save().await?;
            self.saved = Some(clock.monotonic());
        }
        Ok(())
    }
}

const EVERY: Duration = Duration::from_secs(2);
/// What a look leaves of the WAL, the next one reads.
const READ: Duration = Duration::from_millis(500);
/// How far WAL was read is to be known to the next process before the server has thrown it away.
const SAVE: Duration = Duration::from_secs(30);
