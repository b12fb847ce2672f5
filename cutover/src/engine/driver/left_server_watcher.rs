//! The server that was left, once the migration has ended.

use std::time::Duration;

use tracing::error;

use super::leader::Leader;
use crate::{
    engine::{error::DriveError, status::NotKnown},
    machine::Side,
    migration::ServerSeen,
    ports::Monotonic,
    steps::{LeftServerLook, not_left_alone},
};

/// Looks at it every few seconds, and seldom at one that does not answer.
#[derive(Debug, Default)]
pub(super) struct LeftServerWatcher {
    looked: Option<Monotonic>,
    saved: Option<Monotonic>,
    /// How many looks in a row came to nothing.
    unanswered: u32,
    /// It is this migration's no more.
    is_released: bool,
}

impl LeftServerWatcher {
    /// The side of the server that was left and is to stay closed; `None` where there is none, or it was
    /// let go.
    pub(super) fn watches(&self, leader: &Leader) -> Option<Side> {
        let migration = leader.migration();
        let side = migration.state().left_for_good()?;
        let is_closed = migration.facts.closed(side).is_some();
        (is_closed && !self.is_released).then_some(side)
    }

    /// How long it is until the next look.
    pub(super) fn wait(&self) -> Duration {
        match self.unanswered < PATIENCE {
            _ if self.looked.is_none() => Duration::ZERO,
            true => EVERY,
            false => SELDOM,
        }
    }

    /// Looks. What somebody did there is written down and shown.
    pub(super) async fn look(&mut self, leader: &mut Leader, side: Side) -> Result<(), DriveError> {
        let looked = leader.look_at_left_server(side).await;
        let clock = leader.commands().clock();
        self.looked = Some(clock.monotonic());
        let now = clock.now();
        let (seen, why) = match looked {
            Ok(LeftServerLook::Released(why)) => return self.let_go(leader, why).await,
            Ok(LeftServerLook::Watched(seen)) => (seen, None),
            Err(failure) => (ServerSeen::default(), Some(failure.message)),
        };
        self.unanswered = match &why {
            Some(_) => self.unanswered.saturating_add(1),
            None => 0,
        };
        leader.show_bake(|view| {
            let since = view
                .left
                .take()
                .map_or(now, |former: NotKnown| former.since);
            view.left = why.map(|why| NotKnown { since, why });
        });
        if seen.is_disturbed() {
            let said = not_left_alone(leader.migration(), side, &seen);
            error!(migration = %leader.migration().name, "{said}");
            return leader.note(STEP, said).await;
        }
        let saved = *self.saved.get_or_insert_with(|| clock.monotonic());
        if seen.reach.is_some() && clock.elapsed(saved) >= SAVE {
            self.saved = Some(clock.monotonic());
            leader.save().await?;
        }
        Ok(())
    }

    /// Says so, and once.
    async fn let_go(&mut self, leader: &mut Leader, why: String) -> Result<(), DriveError> {
        self.is_released = true;
        leader.show_bake(|view| {
            view.left = None;
            view.released = Some(why.clone());
        });
        let said = format!("it is looked at no more, since {why}");
        if leader.has_noted(STEP, &said) {
            return Ok(());
        }
        leader.note(STEP, said).await
    }
}

/// How the journal names what is looked at.
const STEP: &str = "left";
const EVERY: Duration = Duration::from_secs(2);
/// After so many it may have been shut down for good.
const PATIENCE: u32 = 5;
const SELDOM: Duration = Duration::from_secs(30);
/// How far WAL was read is to be known to the next process before the server has thrown it away.
const SAVE: Duration = Duration::from_secs(600);
