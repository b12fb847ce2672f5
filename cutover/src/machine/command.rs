use std::time::Duration;

use crate::Settings;

use super::{direction::Direction, step::Step};

/// What the engine owes in a state.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Command {
    SetUp,
    Step(Direction, Step),
    Undo(Direction, Step),
    /// Ask the API to promote the target.
    RequestPromotion,
    /// Look how far a managed promotion is; send nothing.
    AwaitPromotion,
    /// Make and prove the reverse stream.
    Arm,
    /// Watch alarms and the reverse stream.
    Watch,
    Complete,
    Cancel,
    /// Publish the former reader routes once their server lets connections in again.
    RestoreReaders,
}

/// How long a command may take.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Budget {
    /// Clients are parked, and an undo must fit into what is left of the hold.
    InsideHold,
    /// A step of a switch outside of that window.
    Step,
    /// Nobody is parked for it. Each wait inside has a deadline of its own.
    Unhurried,
}

impl Command {
    /// How long it may take.
    pub fn budget(self) -> Budget {
        match self {
            Self::Step(_, Step::Prepare) => Budget::Unhurried,
            Self::Step(direction, step) => {
                if step > Step::Hold && step.can_be_undone(direction) {
                    Budget::InsideHold
                } else {
                    Budget::Step
                }
            }
            Self::SetUp
            | Self::Undo(..)
            | Self::RequestPromotion
            | Self::AwaitPromotion
            | Self::Arm
            | Self::Watch
            | Self::Complete
            | Self::Cancel
            | Self::RestoreReaders => Budget::Unhurried,
        }
    }

    /// The command's name, as the journal prints it.
    pub fn label(self) -> &'static str {
        match self {
            Self::SetUp => "start",
            Self::Step(_, step) => step.label(),
            Self::Undo(..) => "undo",
            Self::RequestPromotion => "request_promotion",
            Self::AwaitPromotion => "await_promotion",
            Self::Arm => "arm",
            Self::Watch => "bake",
            Self::Complete => "complete",
            Self::Cancel => "cancel",
            Self::RestoreReaders => "readers",
        }
    }
}

impl Budget {
    /// The time that is left, where `hold_left` is what is left of the hold, if there is one.
    /// `waits` is how long both servers together may take for all that they are asked.
    pub fn length(
        self,
        settings: &Settings,
        waits: Duration,
        hold_left: Option<Duration>,
    ) -> Duration {
        match self {
            Self::InsideHold => hold_left
                .unwrap_or(settings.hold_budget)
                .saturating_sub(settings.hold_budget / 4)
                .max(SHORTEST_STEP),
            Self::Step => waits + settings.hold_budget,
            Self::Unhurried => LONGEST_COMMAND.max(waits * 2),
        }
    }
}

const SHORTEST_STEP: Duration = Duration::from_millis(200);
/// Each wait inside these commands has a deadline of its own; this one is for bugs, where the
/// servers' own waits are shorter.
const LONGEST_COMMAND: Duration = Duration::from_secs(120);
