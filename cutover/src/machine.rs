//! The switch as a pure machine: `(State, Event) → State`, and the command that the
//! engine owes in each state. No I/O, clock or log line in here; time and the world
//! enter as events.

use serde::{Deserialize, Serialize};

/// Which way a switch goes. A rollback is the same machine, backward.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// From the source to the target.
    Forward,
    /// From the promoted target back to the source.
    Reverse,
}

/// The steps of a switch, in their order.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Sessions open, checks fresh, fleet complete. Nothing is changed.
    Prepare,
    /// New connections are parked in the sidecars.
    Hold,
    /// The old writer refuses everybody; its final position is known.
    Fence,
    /// The new writer has everything up to that position.
    CatchUp,
    /// The fence is proved once more. The last step before the intent to promote.
    Prove,
    /// Forward: entering it is the intent to promote; from here on the source may only be
    /// opened by proof. Backward: sequences are carried over, the reverse stream stops.
    Promote,
    /// What must exist before the first write: slots; `pg_hba.conf` and logins backward.
    Prime,
    /// The new writer opens and the fleet is sent there.
    Flip,
}

/// How far the stream that makes the way back lossless is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReverseStream {
    /// Being made; a rollback waits for it while the target serves.
    Arming,
    /// A row written on the target was seen on the source.
    Proven,
    /// It cannot deliver any more; going back loses what it has not delivered.
    Broken,
}

/// What the journal holds of a migration. Every variant survives a restart.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    /// Made by the operator; no server was touched.
    Planned,
    /// `start` was asked for: the source gets publication, probe table, fence table.
    SettingUp,
    /// Ready to switch.
    Prepared,
    /// In a switch, owing `step`.
    Switching { direction: Direction, step: Step },
    /// Going back to where the switch began, after `step` failed or was aborted.
    Undoing { direction: Direction, step: Step },
    /// A forward switch was undone before promotion; it may be tried again.
    Undone,
    /// The target serves and is watched. `rollback` is set while a rollback waits for the
    /// reverse stream.
    Baking {
        reverse: ReverseStream,
        rollback: bool,
    },
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
    /// Neither server can be proven to be the only writer: both stay closed.
    NeedsOperator { direction: Direction, step: Step },
}

/// What happened.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    StartRequested,
    SwitchRequested,
    /// Before the point of no return only.
    AbortRequested,
    /// By an operator or an alarm.
    RollbackRequested,
    /// By an operator who accepted a counted loss.
    LossyRollbackRequested,
    CompleteRequested,
    CancelRequested,
    /// The command of this state succeeded, with its proof.
    Done,
    /// The command of this state failed, and what it did can be taken back.
    Failed,
    /// It failed after the intent to promote, and the target is proven to be a closed
    /// primary without sessions on which nobody wrote (S3 b of `docs/safety.md`).
    FailedTargetUnwritten,
    /// It failed, and no server can be proven to be the only writer.
    Unprovable,
    /// The reverse stream delivers no more.
    ReverseStreamBroke,
    /// The reverse stream has to be proven anew.
    ReverseStreamLapsed,
    /// A new process took over.
    Restarted,
    /// An operator decided to try the step again.
    RetryChosen,
    /// An operator decided to open the source.
    OpenSourceChosen,
}

/// What the engine owes in a state.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Command {
    SetUp,
    Step(Direction, Step),
    Undo(Direction, Step),
    /// Make and prove the reverse stream.
    Arm,
    /// Watch alarms and the reverse stream.
    Watch,
    Complete,
    Cancel,
}

/// A pair that the table does not list.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{event:?} is not possible in {state:?}")]
pub struct IllegalTransition {
    pub state: State,
    pub event: Event,
}

impl Step {
    /// Every step, in order.
    pub const ALL: [Self; 8] = [
        Self::Prepare,
        Self::Hold,
        Self::Fence,
        Self::CatchUp,
        Self::Prove,
        Self::Promote,
        Self::Prime,
        Self::Flip,
    ];

    /// The step after this one, `None` after the last.
    pub fn next(self) -> Option<Self> {
        Self::ALL
            .into_iter()
            .skip_while(|&step| step != self)
            .nth(1)
    }

    /// The first step that cannot simply be taken back: forward the intent to promote,
    /// backward the opening of the source.
    pub fn point_of_no_return(direction: Direction) -> Self {
        match direction {
            Direction::Forward => Self::Promote,
            Direction::Reverse => Self::Flip,
        }
    }

    /// Whether its intent must be durable before it begins, because what recovery does
    /// depends on it. Any other step is recovered exactly as the step before it, so its
    /// intent may be written with the next durable one.
    pub fn intent_is_durable(self) -> bool {
        match self {
            Self::Prepare | Self::Hold | Self::Fence | Self::Promote | Self::Flip => true,
            Self::CatchUp | Self::Prove | Self::Prime => false,
        }
    }

    /// The step's name, as `status` and the journal print it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Prepare => "prepare",
            Self::Hold => "hold",
            Self::Fence => "fence",
            Self::CatchUp => "catch_up",
            Self::Prove => "prove",
            Self::Promote => "promote",
            Self::Prime => "prime",
            Self::Flip => "flip",
        }
    }
}

impl Direction {
    /// The direction's name.
    pub fn label(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Reverse => "reverse",
        }
    }
}

impl State {
    /// Advances the machine. Unlisted pairs are errors, never silent no-ops.
    pub fn apply(self, event: Event) -> Result<Self, IllegalTransition> {
        use {Event as E, State as S};
        Ok(match (self, event) {
            (S::Planned, E::StartRequested) => S::SettingUp,
            (S::SettingUp, E::Done) => S::Prepared,
            (S::SettingUp, E::Failed) => S::Planned,
            (S::Prepared | S::Undone, E::SwitchRequested) => first_step(Direction::Forward),
            (S::Planned | S::Prepared | S::Undone, E::CancelRequested) => S::Cancelling,
            (S::Cancelling, E::Done) => S::Cancelled,
            // What could not be ended can be asked for again.
            (S::Cancelling, E::Failed) => S::Prepared,
            (S::Completing, E::Failed) => S::Baking {
                reverse: ReverseStream::Arming,
                rollback: false,
            },
            (S::Completing, E::Done) => S::Completed,

            (S::Switching { direction, step }, event) => return switching(direction, step, event),
            (S::Undoing { direction, step }, event) => return undoing(direction, step, event),
            (S::Baking { reverse, rollback }, event) => return baking(reverse, rollback, event),
            (S::NeedsOperator { direction, step }, event) => {
                return needs_operator(direction, step, event);
            }

            // Whatever was owed is owed still.
            (state, E::Restarted) => state,
            (state, event) => return Err(IllegalTransition { state, event }),
        })
    }

    /// The one command that the engine owes in this state.
    pub fn command(self) -> Option<Command> {
        match self {
            Self::SettingUp => Some(Command::SetUp),
            Self::Switching { direction, step } => Some(Command::Step(direction, step)),
            Self::Undoing { direction, step } => Some(Command::Undo(direction, step)),
            Self::Baking { reverse, .. } => Some(match reverse {
                ReverseStream::Arming => Command::Arm,
                ReverseStream::Proven | ReverseStream::Broken => Command::Watch,
            }),
            Self::Completing => Some(Command::Complete),
            Self::Cancelling => Some(Command::Cancel),
            Self::Planned
            | Self::Prepared
            | Self::Undone
            | Self::RolledBack
            | Self::Completed
            | Self::Cancelled
            | Self::NeedsOperator { .. } => None,
        }
    }

    /// Whether the migration has ended and its servers are free for another.
    pub fn is_over(self) -> bool {
        matches!(self, Self::RolledBack | Self::Completed | Self::Cancelled)
    }

    /// Whether a switch, an undo or a set-up is under way.
    pub fn is_moving(self) -> bool {
        match self {
            Self::SettingUp
            | Self::Switching { .. }
            | Self::Undoing { .. }
            | Self::Completing
            | Self::Cancelling => true,
            Self::Baking { rollback, .. } => rollback,
            Self::Planned
            | Self::Prepared
            | Self::Undone
            | Self::RolledBack
            | Self::Completed
            | Self::Cancelled
            | Self::NeedsOperator { .. } => false,
        }
    }

    /// The direction and step of a switch under way, being undone, or waiting for an operator.
    pub fn place(self) -> Option<(Direction, Step)> {
        match self {
            Self::Switching { direction, step }
            | Self::Undoing { direction, step }
            | Self::NeedsOperator { direction, step } => Some((direction, step)),
            Self::Planned
            | Self::SettingUp
            | Self::Prepared
            | Self::Undone
            | Self::Baking { .. }
            | Self::RolledBack
            | Self::Completing
            | Self::Completed
            | Self::Cancelling
            | Self::Cancelled => None,
        }
    }

    /// The state's name, as `status` prints it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::SettingUp => "setting_up",
            Self::Prepared => "prepared",
            Self::Switching { .. } => "switching",
            Self::Undoing { .. } => "undoing",
            Self::Undone => "undone",
            Self::Baking { .. } => "baking",
            Self::RolledBack => "rolled_back",
            Self::Completing => "completing",
            Self::Completed => "completed",
            Self::Cancelling => "cancelling",
            Self::Cancelled => "cancelled",
            Self::NeedsOperator { .. } => "needs_operator",
        }
    }
}

fn first_step(direction: Direction) -> State {
    State::Switching {
        direction,
        step: Step::Prepare,
    }
}

fn switching(direction: Direction, step: Step, event: Event) -> Result<State, IllegalTransition> {
    use {Direction as D, Event as E, State as S};
    let may_undo = step < Step::point_of_no_return(direction);
    Ok(match (direction, event) {
        (D::Forward, E::Done) => match step.next() {
            Some(step) => S::Switching { direction, step },
            None => S::Baking {
                reverse: ReverseStream::Arming,
                rollback: false,
            },
        },
        (D::Reverse, E::Done) => match step.next() {
            Some(step) => S::Switching { direction, step },
            None => S::RolledBack,
        },
        (_, E::Failed | E::AbortRequested) if may_undo => S::Undoing { direction, step },
        // Sessions and deadlines died with the former process. What has not passed the
        // point of no return goes back; what has is carried on.
        (_, E::Restarted) if may_undo => S::Undoing { direction, step },
        (_, E::Restarted) => S::Switching { direction, step },
        // Once the target is opened (Flip) it is not unwritten any more.
        (D::Forward, E::FailedTargetUnwritten) if !may_undo && step < Step::Flip => {
            S::Undoing { direction, step }
        }
        (_, E::Unprovable) => S::NeedsOperator { direction, step },
        (_, event) => {
            return Err(IllegalTransition {
                state: S::Switching { direction, step },
                event,
            });
        }
    })
}

fn undoing(direction: Direction, step: Step, event: Event) -> Result<State, IllegalTransition> {
    use {Direction as D, Event as E, State as S};
    Ok(match (event, direction) {
        (E::Done, D::Forward) if step < Step::point_of_no_return(D::Forward) => S::Undone,
        // The target is a primary of its own now: it must be rebuilt.
        (E::Done, D::Forward) => S::RolledBack,
        (E::Done, D::Reverse) => S::Baking {
            reverse: ReverseStream::Arming,
            rollback: false,
        },
        (E::Failed | E::Unprovable, _) => S::NeedsOperator { direction, step },
        (E::Restarted, _) => S::Undoing { direction, step },
        (event, _) => {
            return Err(IllegalTransition {
                state: S::Undoing { direction, step },
                event,
            });
        }
    })
}

fn baking(
    reverse: ReverseStream,
    rollback: bool,
    event: Event,
) -> Result<State, IllegalTransition> {
    use {Event as E, ReverseStream as R, State as S};
    Ok(match (reverse, event) {
        (R::Arming, E::Done) if rollback => first_step(Direction::Reverse),
        (R::Arming, E::Done) => S::Baking {
            reverse: R::Proven,
            rollback: false,
        },
        // Until the stream is proven, a rollback first arms while the target serves.
        (R::Arming, E::RollbackRequested) => S::Baking {
            reverse,
            rollback: true,
        },
        (R::Proven, E::RollbackRequested) => first_step(Direction::Reverse),
        // The step CatchUp counts on the closed target, and undoes the switch when
        // going on would lose what was not accepted.
        (R::Broken, E::RollbackRequested) | (_, E::LossyRollbackRequested) => {
            first_step(Direction::Reverse)
        }
        // The rollback that waits for the stream waits in vain: it counts what it would lose.
        (R::Arming, E::ReverseStreamBroke) if rollback => first_step(Direction::Reverse),
        (R::Arming | R::Proven, E::ReverseStreamBroke) => S::Baking {
            reverse: R::Broken,
            rollback: false,
        },
        (R::Proven | R::Broken, E::ReverseStreamLapsed) => S::Baking {
            reverse: R::Arming,
            rollback: false,
        },
        (_, E::CompleteRequested) if !rollback => S::Completing,
        (_, E::Failed | E::Restarted) => S::Baking { reverse, rollback },
        (_, event) => {
            return Err(IllegalTransition {
                state: S::Baking { reverse, rollback },
                event,
            });
        }
    })
}

fn needs_operator(
    direction: Direction,
    step: Step,
    event: Event,
) -> Result<State, IllegalTransition> {
    use {Event as E, State as S};
    Ok(match (direction, event) {
        (_, E::RetryChosen) if step < Step::point_of_no_return(direction) => {
            S::Undoing { direction, step }
        }
        (_, E::RetryChosen) => S::Switching { direction, step },
        (Direction::Forward, E::OpenSourceChosen) => S::Undoing { direction, step },
        (_, E::Restarted) => S::NeedsOperator { direction, step },
        (_, event) => {
            return Err(IllegalTransition {
                state: S::NeedsOperator { direction, step },
                event,
            });
        }
    })
}

#[cfg(test)]
mod tests;
