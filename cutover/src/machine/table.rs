//! Where each event leads from each state. Every pair is listed; one that is not possible is
//! an error for the sender of the event.

mod baking;
mod deciding;
mod promoting;
mod settled;
mod switching;
mod undoing;
mod working;

use super::{event::Event, state::State};

/// An event that cannot happen in a state.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{event:?} is not possible in {state:?}")]
pub struct NotPossible {
    pub state: State,
    pub event: Event,
}

impl State {
    /// The state after `event`.
    pub fn apply(self, event: Event) -> Result<Self, NotPossible> {
        let next = match self {
            Self::Planned => settled::planned(event),
            Self::Prepared | Self::Undone => settled::ready(self, event),
            Self::RolledBack | Self::Completed | Self::Cancelled | Self::Abandoned => {
                settled::over(self, event)
            }
            Self::SettingUp => working::setting_up(event),
            Self::Completing => working::completing(event),
            Self::Cancelling => working::cancelling(event),
            Self::Switching { direction, step } => switching::next(direction, step, event),
            Self::Promoting { stage } => promoting::next(stage, event),
            Self::Undoing { direction, step } => undoing::next(direction, step, event),
            Self::Baking { stream } => baking::next(stream, event),
            Self::NeedsOperator { direction, step } => deciding::next(direction, step, event),
        };
        next.ok_or(NotPossible { state: self, event })
    }
}
