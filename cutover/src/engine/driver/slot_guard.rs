//! The slots of the reverse stream, in a bake.

use std::time::Duration;

use tracing::error;

use super::leader::Leader;
use crate::{
    engine::error::DriveError,
    machine::{Command, Event},
    ports::Monotonic,
    steps::SlotLook,
};

/// Looks every few seconds how much WAL they keep, and gives them up when it is too much.
#[derive(Debug, Default)]
pub(super) struct SlotGuard {
    looked: Option<Monotonic>,
    warning: Option<String>,
    /// They were given up, and are gone.
    dropped: bool,
}

impl SlotGuard {
    /// What an operator has to know.
    pub(super) fn warning(&self) -> Option<String> {
        self.warning.clone()
    }

    /// Looks, if it is time to. That the slots are given up is on record before one is dropped.
    pub(super) async fn look(&mut self, leader: &mut Leader) -> Result<(), DriveError> {
        let clock = leader.commands().clock();
        let due = self.looked.is_none_or(|at| clock.elapsed(at) >= EVERY);
        if !due || self.dropped {
            return Ok(());
        }
        let looked = leader.look_at_slots().await;
        self.looked = Some(clock.monotonic());
        let name = leader.migration().name.clone();
        match looked {
            Ok(SlotLook::Little) => self.warning = None,
            Ok(SlotLook::Much(said)) => {
                if self.warning.is_none() {
                    error!(migration = %name, "{said}");
                }
                self.warning = Some(said);
            }
            Ok(SlotLook::TooMuch(given_up)) => {
                error!(migration = %name, "{}", given_up.why);
                self.warning = None;
                let at_risk = given_up.at_risk;
                leader.show_bake(|view| view.writes_at_risk = at_risk);
                leader.happened(Event::SlotsGivenUp, given_up.why).await?;
                // They are dropped by the next look, which comes at once.
                self.looked = None;
            }
            Ok(SlotLook::Dropped(names)) => {
                self.dropped = true;
                if !names.is_empty() {
                    let message = format!("dropped: {}", names.join(", "));
                    leader.note(Command::Watch.label(), message).await?;
                }
            }
            // That the target does not answer is said by the look at the stream.
            Err(_failure) => {}
        }
        Ok(())
    }
}

const EVERY: Duration = Duration::from_secs(2);
