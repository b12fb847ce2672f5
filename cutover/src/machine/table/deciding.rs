//! An operator decides.

use crate::machine::{direction::Direction, event::Event as E, state::State as S, step::Step};

pub(super) fn next(direction: Direction, step: Step, event: E) -> Option<S> {
    match event {
        // Nothing but what stands by itself is known here: the source is closed again with proof.
        E::RetryChosen if (direction, step) == (Direction::Reverse, Step::Prepare) => {
            Some(S::Undoing {
                direction,
                step: Step::Prime,
            })
        }
        E::RetryChosen => Some(if step.can_be_undone(direction) {
            S::Undoing { direction, step }
        } else {
            S::Switching { direction, step }
        }),
        // Only a switch that goes on towards the target can do without the source.
        E::RetryWithoutSourceChosen => match direction {
            Direction::Forward if !step.can_be_undone(direction) => {
                Some(S::Switching { direction, step })
            }
            Direction::Forward | Direction::Reverse => None,
        },
        E::OpenSourceChosen => match direction {
            Direction::Forward => Some(S::Undoing { direction, step }),
            Direction::Reverse => None,
        },
        E::OpenSourceWithoutTargetChosen => match direction {
            Direction::Forward => Some(S::Undoing { direction, step }),
            // The source has all that the target had; only the target's fence is in doubt.
            Direction::Reverse if !step.can_be_undone(direction) => {
                Some(S::Switching { direction, step })
            }
            // The target, which served, would serve again.
            Direction::Reverse => Some(S::Undoing { direction, step }),
        },
        E::AbandonRequested => Some(S::Abandoned),
        E::Restarted => Some(S::NeedsOperator { direction, step }),
        E::StartRequested
        | E::SwitchRequested
        | E::AbortRequested
        | E::RollbackRequested
        | E::LossyRollbackRequested
        | E::RollbackWithdrawn
        | E::CompleteRequested
        | E::CompleteWithoutSourceRequested
        | E::CancelRequested
        | E::WaitChosen
        | E::Done
        | E::DoneReadersMoved
        | E::DoneManaged
        | E::NotYet
        | E::NotReceived
        | E::TargetGone
        | E::Failed
        | E::Unanswered
        | E::FailedTargetUnwritten
        | E::Unprovable
        | E::ReverseStreamBroke
        | E::AlarmFired
        | E::ReverseStreamLapsed
        | E::SlotsGivenUp
        | E::SourceOpened
        | E::MovedByHand
        | E::SourceWritesAccepted
        | E::SourceFenceBroken
        | E::TargetDown
        | E::TargetBack => None,
    }
}
