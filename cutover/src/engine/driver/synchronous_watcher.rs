//! Commits on the target that wait for no standby any more, in a bake.

use std::time::Duration;

use tracing::{info, warn};

use super::leader::Leader;
use crate::{engine::error::DriveError, ports::Monotonic, steps::SetAgain};

/// Looks every few seconds whether the standbys of a setting that was emptied are connected. Once it is
/// set again, or is another one, it is the operators' alone.
#[derive(Debug, Default)]
pub(super) struct SynchronousWatcher {
    looked: Option<Monotonic>,
    is_done: bool,
}

impl SynchronousWatcher {
    /// Looks, if it is time to. A target that does not answer is looked at again.
    pub(super) async fn look(&mut self, leader: &mut Leader) -> Result<(), DriveError> {
        let clock = leader.commands().clock();
        if self.is_done || self.looked.is_some_and(|at| clock.elapsed(at) < EVERY) {
            return Ok(());
        }
        let outcome = leader.set_synchronous_again().await;
        self.looked = Some(clock.monotonic());
        let migration = &leader.migration().name;
        match outcome {
            Ok(SetAgain::NotYet) => {}
            Ok(SetAgain::NothingToDo) => self.is_done = true,
            Ok(SetAgain::Done(words)) => {
                self.is_done = true;
                info!(%migration, "{words}");
                leader.note("bake", words).await?;
            }
            Err(failure) => warn!(
                %migration,
                "whether commits on the target wait for its standbys again is not known: {}",
                failure.message
            ),
        }
        Ok(())
    }
}

const EVERY: Duration = Duration::from_secs(5);
