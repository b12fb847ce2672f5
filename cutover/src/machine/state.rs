use serde::{Deserialize, Serialize};

use super::{
    command::Command,
    direction::{Direction, Side},
    step::Step,
};

/// Where a migration stands. Every variant survives a restart.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
pub enum State {
    /// Made by the operator; no server was touched.
    Planned,
    /// `start` was asked for: the source gets publication, probe table, fence table.
    SettingUp,
    /// Ready to switch.
    Prepared,
    /// In a switch, owing `step`.
    Switching { direction: Direction, step: Step },
    /// Behind a forward switch's `Prove`, an API promotes the target. It was asked once, and
    /// cannot be called back.
    Promoting { stage: PromotionStage },
    /// Going back to where the switch began, after `step` failed or was aborted.
    Undoing { direction: Direction, step: Step },
    /// A forward switch was undone before promotion; it may be tried again.
    Undone,
    /// The target serves and is watched.
    Baking { stream: StreamState },
    /// The source serves again; the target is closed until it is rebuilt.
    RolledBack,
    /// `complete` was asked for: the reverse stream is taken down.
    Completing,
    /// The target serves for good; the source is closed and kept.
    Completed,
    /// `cancel` was asked for: what `start` made is taken back.
    Cancelling,
    /// Ended before any switch.
    Cancelled,
    /// Ended by an operator's word: what stands on both servers was given up, and nothing was touched.
    Abandoned,
    /// Neither server can be proven to be the only writer: both stay closed.
    NeedsOperator { direction: Direction, step: Step },
}

/// How far the stream that makes the way back lossless is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StreamState {
    /// Being made.
    Arming,
    /// Being made, and a rollback waits for it while the target serves.
    ArmingForRollback,
    /// A row written on the target was seen on the source.
    Proven,
    /// It cannot deliver any more; going back loses what it has not delivered.
    Broken,
}

/// How far a managed promotion is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PromotionStage {
    /// The intent is on record and the request is sent. The stage ends with the sending, also if that
    /// fails.
    Requesting,
    /// The request was sent, or may have been. The target is observed, and nothing is sent.
    UnderWay,
    /// It has not come through in its time, or the API says that it failed. The target is
    /// observed all the same, and an operator decides.
    Stalled,
}

impl State {
    /// The one command that this state owes.
    pub fn command(self) -> Option<Command> {
        match self {
            Self::SettingUp => Some(Command::SetUp),
            Self::Switching { direction, step } => Some(Command::Step(direction, step)),
            Self::Promoting { stage } => Some(match stage {
                PromotionStage::Requesting => Command::RequestPromotion,
                PromotionStage::UnderWay | PromotionStage::Stalled => Command::AwaitPromotion,
            }),
            Self::Undoing { direction, step } => Some(Command::Undo(direction, step)),
            Self::Baking { stream } => Some(match stream {
                StreamState::Arming | StreamState::ArmingForRollback => Command::Arm,
                StreamState::Proven | StreamState::Broken => Command::Watch,
            }),
            Self::Completing => Some(Command::Complete),
            Self::Cancelling => Some(Command::Cancel),
            Self::Planned
            | Self::Prepared
            | Self::Undone
            | Self::RolledBack
            | Self::Completed
            | Self::Cancelled
            | Self::Abandoned
            | Self::NeedsOperator { .. } => None,
        }
    }

    /// Whether the migration has ended and its servers are free for another.
    pub fn is_over(self) -> bool {
        matches!(
            self,
            Self::RolledBack | Self::Completed | Self::Cancelled | Self::Abandoned
        )
    }

    /// The side of the server that the end of a migration left behind, closed.
    pub fn left_for_good(self) -> Option<Side> {
        match self {
            Self::RolledBack => Some(Side::Target),
            Self::Completed => Some(Side::Source),
            Self::Planned
            | Self::SettingUp
            | Self::Prepared
            | Self::Switching { .. }
            | Self::Promoting { .. }
            | Self::Undoing { .. }
            | Self::Undone
            | Self::Baking { .. }
            | Self::Completing
            | Self::Cancelling
            | Self::Cancelled
            | Self::Abandoned
            | Self::NeedsOperator { .. } => None,
        }
    }

    /// How an operator ends a migration that is in this state, and frees its servers.
    pub fn way_to_end(self) -> &'static str {
        match self {
            Self::Planned | Self::Prepared | Self::Undone => "cancel it first (`migration cancel`)",
            Self::Baking { .. } => {
                "roll back or complete it first (`migration rollback`, `migration complete`)"
            }
            Self::NeedsOperator { .. }
            | Self::Promoting {
                stage: PromotionStage::Stalled,
            } => "decide first (`migration status` has the choices, `migration resolve` takes one)",
            Self::SettingUp
            | Self::Switching { .. }
            | Self::Promoting { .. }
            | Self::Undoing { .. }
            | Self::Completing
            | Self::Cancelling => "wait until that is through (`migration status --watch`)",
            Self::RolledBack | Self::Completed | Self::Cancelled | Self::Abandoned => {
                "it has ended"
            }
        }
    }

    /// Whether a switch, an undo or a set-up is under way.
    pub fn is_moving(self) -> bool {
        match self {
            Self::SettingUp
            | Self::Switching { .. }
            | Self::Undoing { .. }
            | Self::Completing
            | Self::Cancelling => true,
            Self::Promoting { stage } => stage != PromotionStage::Stalled,
            Self::Baking { stream } => stream.rollback_waits(),
            Self::Planned
            | Self::Prepared
            | Self::Undone
            | Self::RolledBack
            | Self::Completed
            | Self::Cancelled
            | Self::Abandoned
            | Self::NeedsOperator { .. } => false,
        }
    }

    /// Whether a leader that is told to stop goes on until this state is left: nobody else
    /// would release what a switch or its undo holds. A managed promotion that was asked for
    /// needs nobody for that.
    pub fn outlasts_a_stop(self) -> bool {
        match self {
            Self::Switching { .. } | Self::Undoing { .. } => true,
            Self::Promoting { stage } => stage == PromotionStage::Requesting,
            Self::Planned
            | Self::SettingUp
            | Self::Prepared
            | Self::Undone
            | Self::Baking { .. }
            | Self::RolledBack
            | Self::Completing
            | Self::Completed
            | Self::Cancelling
            | Self::Cancelled
            | Self::Abandoned
            | Self::NeedsOperator { .. } => false,
        }
    }

    /// The direction and step of a switch under way, being undone, or waiting for an operator.
    pub fn place(self) -> Option<(Direction, Step)> {
        match self {
            Self::Switching { direction, step }
            | Self::Undoing { direction, step }
            | Self::NeedsOperator { direction, step } => Some((direction, step)),
            Self::Promoting { .. } => Some((Direction::Forward, Step::Promote)),
            Self::Planned
            | Self::SettingUp
            | Self::Prepared
            | Self::Undone
            | Self::Baking { .. }
            | Self::RolledBack
            | Self::Completing
            | Self::Completed
            | Self::Cancelling
            | Self::Cancelled
            | Self::Abandoned => None,
        }
    }

    /// The state's name, as `status` prints it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::SettingUp => "setting_up",
            Self::Prepared => "prepared",
            Self::Switching { .. } => "switching",
            Self::Promoting { stage } => stage.label(),
            Self::Undoing { .. } => "undoing",
            Self::Undone => "undone",
            Self::Baking { .. } => "baking",
            Self::RolledBack => "rolled_back",
            Self::Completing => "completing",
            Self::Completed => "completed",
            Self::Cancelling => "cancelling",
            Self::Cancelled => "cancelled",
            Self::Abandoned => "abandoned",
            Self::NeedsOperator { .. } => "needs_operator",
        }
    }

    /// The beginning of a switch in `direction`.
    pub(super) fn first_step(direction: Direction) -> Self {
        Self::Switching {
            direction,
            step: Step::Prepare,
        }
    }

    /// The direction of a switch that is at its first step.
    pub(super) fn begins(self) -> Option<Direction> {
        let (direction, step) = self.place()?;
        let begins = matches!(self, Self::Switching { .. }) && step == Step::Prepare;
        begins.then_some(direction)
    }
}

impl PromotionStage {
    /// The state's name, as `status` prints it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Requesting | Self::UnderWay => "promoting",
            Self::Stalled => "promotion_stalled",
        }
    }
}

impl StreamState {
    /// Whether a rollback begins as soon as the stream is proven.
    pub fn rollback_waits(self) -> bool {
        match self {
            Self::ArmingForRollback => true,
            Self::Arming | Self::Proven | Self::Broken => false,
        }
    }

    /// The stream's name, as `status` prints it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Arming | Self::ArmingForRollback => "arming",
            Self::Proven => "proven",
            Self::Broken => "broken",
        }
    }
}
