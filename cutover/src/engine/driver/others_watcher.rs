//! The other servers of the same system, in a bake.

use std::time::Duration;

use tracing::error;

use super::leader::Leader;
use crate::{engine::error::DriveError, machine::Event, ports::Monotonic, steps::what_to_do};

/// Looks every few seconds whether somebody else promoted one.
#[derive(Debug, Default)]
pub(super) struct OthersWatcher {
    looked: Option<Monotonic>,
    unknown: Vec<String>,
}

impl OthersWatcher {
    /// What is not known of them.
    pub(super) fn unknown(&self) -> &[String] {
        &self.unknown
    }

    /// Looks, if it is time to. A second primary parks the migration; a server that does not answer is
    /// none.
    pub(super) async fn look(&mut self, leader: &mut Leader) -> Result<(), DriveError> {
        let clock = leader.commands().clock();
        if self.looked.is_some_and(|at| clock.elapsed(at) < EVERY) {
            return Ok(());
        }
        let others = leader.look_at_others().await;
        self.looked = Some(clock.monotonic());
        self.unknown = others.unknown;
        let Some(found) = others.not_ours.first() else {
            return Ok(());
        };
        let migration = leader.migration();
        let reason = format!("{found}: {}", what_to_do(migration));
        error!(migration = %migration.name, "{reason}");
        leader.happened(Event::MovedByHand, reason).await?;
        Ok(())
    }
}

const EVERY: Duration = Duration::from_secs(3);
