use crate::machine::{
    direction::Direction,
    event::Event as E,
    state::{State as S, StreamState},
    step::Step,
};

pub(super) fn next(direction: Direction, step: Step, event: E) -> Option<S> {
    let here = S::Undoing { direction, step };
    match event {
        E::Done => Some(undone(direction, step)),
        E::DoneReadersMoved => match direction {
            Direction::Forward => Some(undone(direction, step)),
            Direction::Reverse => None,
        },
        E::SourceOpened => match direction {
            Direction::Forward => None,
            Direction::Reverse => Some(S::RolledBack),
        },
        E::Failed | E::FailedTargetUnwritten | E::Unprovable | E::ReverseStreamBroke => {
            Some(S::NeedsOperator { direction, step })
        }
        E::Unanswered | E::Restarted => Some(here),
        E::StartRequested
        | E::SwitchRequested
        | E::AbortRequested
        | E::RollbackRequested
        | E::LossyRollbackRequested
        | E::RollbackWithdrawn
        | E::CompleteRequested
        | E::CompleteWithoutSourceRequested
        | E::CancelRequested
        | E::RetryChosen
        | E::RetryWithoutSourceChosen
        | E::OpenSourceChosen
        | E::OpenSourceWithoutTargetChosen
        | E::WaitChosen
        | E::DoneManaged
        | E::NotYet
        | E::NotReceived
        | E::TargetGone
        | E::AlarmFired
        | E::ReverseStreamLapsed
        | E::SlotsGivenUp
        | E::MovedByHand
        | E::SourceWritesAccepted
        | E::AbandonRequested
        | E::SourceFenceBroken
        | E::TargetDown
        | E::TargetBack => None,
    }
}

fn undone(direction: Direction, step: Step) -> S {
    match direction {
        Direction::Forward if step.can_be_undone(direction) => S::Undone,
        // The target is a primary of its own now: it must be rebuilt.
        Direction::Forward => S::RolledBack,
        Direction::Reverse => S::Baking {
            stream: StreamState::Arming,
        },
    }
}
