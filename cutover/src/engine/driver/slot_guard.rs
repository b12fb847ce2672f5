//! The slots of the reverse stream, in a bake and while an operator is waited for.

use std::time::Duration;

use tracing::error;

use super::leader::Leader;
use crate::{
    engine::error::DriveError,
    machine::{Command, Event, State},
    ports::Monotonic,
    steps::SlotLook,
};

/// Looks every few seconds how much WAL they keep, and gives them up when it is too much.
#[derive(Debug, Default)]
pub(super) struct SlotGuard {
    looked: Option<Monotonic>,
}

impl SlotGuard {
    /// Looks, if it is time to. That the slots are given up is on record before one is dropped.
    pub(super) async fn look(&mut self, leader: &mut Leader) -> Result<(), DriveError> {
        let clock = leader.commands().clock();
        let due = self.looked.is_none_or(|at| clock.elapsed(at) >= EVERY);
        if !due {
            return Ok(());
        }
        let looked = leader.look_at_slots().await;
        self.looked = Some(clock.monotonic());
        let name = leader.migration().name.clone();
        match looked {
            Ok(SlotLook::Little) => leader.show_bake(|view| view.slots = None),
            Ok(SlotLook::Much(said)) => {
                if leader.bake_view().slots.is_none() {
                    error!(migration = %name, "{said}");
                }
                leader.show_bake(|view| view.slots = Some(said));
            }
            Ok(SlotLook::TooMuch(given_up)) => {
                error!(migration = %name, "{}", given_up.why);
                let at_risk = given_up.at_risk;
                leader.show_bake(|view| {
                    view.slots = None;
                    view.writes_at_risk = at_risk;
                });
                put_on_record(leader, given_up.why).await?;
                // They are dropped by the next look, which comes at once.
                self.looked = None;
            }
            Ok(SlotLook::Dropped(names)) if names.is_empty() => {}
            Ok(SlotLook::Dropped(names)) => {
                let message = format!("dropped: {}", names.join(", "));
                leader.note(Command::Watch.label(), message).await?;
            }
            // That the target does not answer is said by the look at the stream.
            Err(_failure) => {}
        }
        Ok(())
    }
}

/// Where an operator is waited for, the state stays and the cause of that as well.
async fn put_on_record(leader: &mut Leader, why: String) -> Result<(), DriveError> {
    if matches!(leader.migration().state(), State::NeedsOperator { .. }) {
        return leader.note(Command::Watch.label(), why).await;
    }
    leader.happened(Event::SlotsGivenUp, why).await?;
    Ok(())
}

const EVERY: Duration = Duration::from_secs(2);
