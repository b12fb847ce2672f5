//! The other servers of the same system, in a bake, while an API promotes, and while an operator is
//! waited for.

use std::time::Duration;

use tracing::error;

use super::leader::Leader;
use crate::{
    engine::error::DriveError,
    machine::{Event, PromotionStage, State},
    ports::Monotonic,
    steps::what_to_do,
};

/// Looks every few seconds whether somebody else promoted one.
#[derive(Debug, Default)]
pub(super) struct OthersWatcher {
    looked: Option<Monotonic>,
    unknown: Vec<String>,
    /// What was said last of a server that no switch made what it is, outside of a bake.
    said: Option<String>,
}

impl OthersWatcher {
    /// What is not known of them.
    pub(super) fn unknown(&self) -> &[String] {
        &self.unknown
    }

    /// Looks, if it is time to. A second primary parks the migration; a server that does not answer is
    /// none.
    pub(super) async fn look(&mut self, leader: &mut Leader) -> Result<(), DriveError> {
        if !self.is_due(leader) {
            return Ok(());
        }
        let Some(reason) = self.find(leader).await else {
            return Ok(());
        };
        error!(migration = %leader.migration().name, "{reason}");
        leader.happened(Event::MovedByHand, reason).await?;
        Ok(())
    }

    /// The same while an API promotes the target, which calls an operator, and while an operator is
    /// waited for, who is told once.
    pub(super) async fn look_outside_of_a_bake(
        &mut self,
        leader: &mut Leader,
    ) -> Result<(), DriveError> {
        if !self.is_due(leader) {
            return Ok(());
        }
        let found = self.find(leader).await;
        if found == self.said {
            return Ok(());
        }
        self.said.clone_from(&found);
        leader.show_bake(|view| view.not_ours.clone_from(&found));
        let Some(reason) = found else {
            return Ok(());
        };
        let migration = leader.migration();
        if migration
            .cause
            .as_ref()
            .is_some_and(|cause| cause.contains(&reason))
        {
            return Ok(());
        }
        error!(migration = %migration.name, "{reason}");
        let under_way = State::Promoting {
            stage: PromotionStage::UnderWay,
        };
        if migration.state() == under_way {
            leader.happened(Event::Unprovable, reason).await?;
            return Ok(());
        }
        leader.note(STEP, reason).await
    }

    fn is_due(&self, leader: &Leader) -> bool {
        let clock = leader.commands().clock();
        self.looked.is_none_or(|at| clock.elapsed(at) >= EVERY)
    }

    /// Which server is not as a switch of this migration left it, and what to do.
    async fn find(&mut self, leader: &mut Leader) -> Option<String> {
        let others = leader.look_at_others().await;
        self.looked = Some(leader.commands().clock().monotonic());
        self.unknown = others.unknown;
        let found = others.not_ours.first()?;
        Some(format!("{found}: {}", what_to_do(leader.migration())))
    }
}

/// How the journal names what is looked at.
const STEP: &str = "others";
pub(super) const EVERY: Duration = Duration::from_secs(3);
