//! Commits on the target that wait for the source, where the migration wants that.

use std::time::Duration;

use tracing::warn;

use super::leader::Leader;
use crate::{
    Lsn,
    engine::{error::DriveError, status::Durability},
    machine::{State, StreamState},
    ports::Monotonic,
    steps::{DurableLook, Failure},
};

/// Has commits wait for the source as long as it answers, so that each acknowledged write is there too.
#[derive(Debug, Default)]
pub(super) struct DurabilityWatcher {
    looked: Option<Monotonic>,
    /// Since when commits wait for a source that does not confirm.
    stuck: Option<Monotonic>,
    /// What was written before commits waited is on the source once it has confirmed this.
    awaited: Option<Lsn>,
}

impl DurabilityWatcher {
    /// Whether commits may wait for a source that does not confirm.
    pub(super) fn keeps_clients_waiting(&self) -> bool {
        self.stuck.is_some()
    }

    /// Looks, if it is time to.
    pub(super) async fn look(&mut self, leader: &mut Leader) -> Result<(), DriveError> {
        let clock = leader.commands().clock();
        let due = self.looked.is_none_or(|at| clock.elapsed(at) >= EVERY);
        if !leader.migration().durable_way_back || !due {
            return Ok(());
        }
        self.looked = Some(clock.monotonic());
        let done = match leader.look_at_durability().await {
            Ok(DurableLook::CouldWait(before)) if is_proven(leader) => {
                self.awaited = None;
                leader.wait_for_source(before).await?
            }
            Ok(DurableLook::CouldWait(_)) => {
                not_durable(leader, "the reverse stream is not proven yet");
                Ok(())
            }
            Ok(DurableLook::CannotWait(why)) => {
                not_durable(leader, &why);
                Ok(())
            }
            Ok(DurableLook::Wait {
                synchrony,
                confirmed,
            }) => {
                let in_time = synchrony.longest_wait < AT_MOST;
                if synchrony.in_sync && in_time {
                    self.confirms(leader, confirmed).await
                } else {
                    self.is_stuck(leader, !in_time).await?
                }
            }
            // That the target does not answer is said by the look at the stream.
            Err(failure) if failure.is_unanswered() => {
                self.stuck = None;
                Ok(())
            }
            Err(failure) => Err(failure),
        };
        if let Err(failure) = done {
            warn!(migration = %leader.migration().name, "{}", failure.message);
            if !leader.bake_view().durability.is_promised() {
                not_durable(leader, &failure.message);
            }
        }
        Ok(())
    }

    async fn confirms(&mut self, leader: &mut Leader, confirmed: Lsn) -> Result<(), Failure> {
        self.stuck = None;
        let awaited = match self.awaited {
            Some(awaited) => awaited,
            None => *self.awaited.insert(leader.flush_target().await?),
        };
        if confirmed >= awaited && !leader.bake_view().durability.is_promised() {
            let since = leader.commands().clock().now();
            leader.show_bake(|view| view.durability = Durability::Promised { since });
        }
        Ok(())
    }

    /// As long as commits wait nothing is acknowledged; for too long is an outage.
    async fn is_stuck(
        &mut self,
        leader: &mut Leader,
        at_once: bool,
    ) -> Result<Result<(), Failure>, DriveError> {
        let clock = leader.commands().clock();
        let since = *self.stuck.get_or_insert_with(|| clock.monotonic());
        if !at_once && clock.elapsed(since) < AT_MOST {
            return Ok(Ok(()));
        }
        let source = leader.migration().source.clone();
        let why = format!("{source} has confirmed nothing for {AT_MOST:?}");
        not_durable(leader, &why);
        let done = leader.wait_for_source_no_more(&why).await?;
        if done.is_ok() {
            self.stuck = None;
        }
        Ok(done)
    }
}

fn is_proven(leader: &Leader) -> bool {
    let proven = State::Baking {
        stream: StreamState::Proven,
    };
    leader.migration().state() == proven
}

/// From the first moment on that a commit might not wait, nothing is promised.
fn not_durable(leader: &mut Leader, why: &str) {
    let now = leader.commands().clock().now();
    leader.show_bake(|view| {
        let since = match &view.durability {
            Durability::Not { since, .. } => *since,
            Durability::NotLooked | Durability::Promised { .. } => now,
        };
        let why = why.to_owned();
        view.durability = Durability::Not { since, why };
    });
}

const EVERY: Duration = Duration::from_millis(250);
/// How long commits may wait for a source that does not confirm: shorter than an alarm takes to fire.
const AT_MOST: Duration = Duration::from_millis(1_500);
