//! The server that was left, once the migration has ended.

use std::{collections::BTreeSet, time::Duration};

use tokio_util::sync::CancellationToken;
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
    /// It was opened, and cannot be closed.
    stays_open: bool,
    /// It is this migration's no more.
    is_released: bool,
    said: BTreeSet<String>,
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
        if self.looked.is_none() {
            Duration::ZERO
        } else if self.unanswered < PATIENCE && !self.stays_open {
            EVERY
        } else {
            SELDOM
        }
    }

    /// Looks. What somebody did there is written down and shown.
    pub(super) async fn look(
        &mut self,
        leader: &mut Leader,
        side: Side,
        stop: &CancellationToken,
    ) -> Result<(), DriveError> {
        // A former process may have let it go.
        if self.looked.is_none()
            && let Some(said) = leader.noted(STEP, LET_GO)
        {
            return self.let_go(leader, said).await;
        }
        let looked = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            looked = leader.look_at_left_server(side) => looked,
        };
        let look = looked.unwrap_or_else(|failure| LeftServerLook {
            not_known: Some(failure.message),
            ..LeftServerLook::default()
        });
        let clock = leader.commands().clock();
        self.looked = Some(clock.monotonic());
        if let Some(why) = look.released {
            return self.let_go(leader, format!("{LET_GO}{why}")).await;
        }
        self.stays_open = look.stays_open;
        self.unanswered = match look.answers {
            true => 0,
            false => self.unanswered.saturating_add(1),
        };
        let now = clock.now();
        leader.show_bake(|view| {
            view.left = NotKnown::still(view.left.take(), look.not_known, now);
        });
        self.write_down(leader, side, &look.seen).await
    }

    /// What is new is a note; how far it was looked at is saved now and then.
    async fn write_down(
        &mut self,
        leader: &mut Leader,
        side: Side,
        seen: &ServerSeen,
    ) -> Result<(), DriveError> {
        if self.is_news(seen) {
            let said = not_left_alone(leader.migration(), side, seen);
            error!(migration = %leader.migration().name, "{said}");
            return leader.note(STEP, said).await;
        }
        let clock = leader.commands().clock();
        let saved = *self.saved.get_or_insert_with(|| clock.monotonic());
        if seen.reach.is_some() && clock.elapsed(saved) >= SAVE {
            self.saved = Some(clock.monotonic());
            leader.save().await?;
        }
        Ok(())
    }

    /// Bounded: whoever opens it again and again fills no journal. The headline counts on.
    fn is_news(&mut self, seen: &ServerSeen) -> bool {
        let commits = seen.commits.iter().map(ToString::to_string);
        let news: Vec<_> = commits
            .chain(seen.breaches.iter().cloned())
            .filter(|what| !self.said.contains(what))
            .collect();
        let is_news = !news.is_empty() && self.said.len() < MOST_SAID;
        self.said.extend(news.into_iter().filter(|_| is_news));
        is_news
    }

    /// Says so, and once.
    async fn let_go(&mut self, leader: &mut Leader, said: String) -> Result<(), DriveError> {
        self.is_released = true;
        leader.show_bake(|view| {
            view.left = None;
            view.released = Some(said.clone());
        });
        match leader.noted(STEP, LET_GO) {
            Some(_before) => Ok(()),
            None => leader.note(STEP, said).await,
        }
    }
}

/// How the journal names what is looked at.
const STEP: &str = "left";
/// What the note begins with that says so.
const LET_GO: &str = "it is looked at no more, since ";
const EVERY: Duration = Duration::from_secs(2);
/// After so many it may have been shut down for good.
const PATIENCE: u32 = 5;
const SELDOM: Duration = Duration::from_secs(30);
/// How far WAL was read is to be known to the next process before the server has thrown it away.
const SAVE: Duration = Duration::from_secs(600);
/// How many transactions and breaches one process writes down.
const MOST_SAID: usize = 256;
