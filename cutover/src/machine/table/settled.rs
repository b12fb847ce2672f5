//! The states that wait for a request, and those in which nothing can be asked any more.

use crate::machine::{direction::Direction, event::Event as E, state::State as S, step::Step};

pub(super) fn planned(event: E) -> Option<S> {
    match event {
        E::StartRequested => Some(S::SettingUp),
        E::CancelRequested => Some(S::Cancelling),
        E::Restarted => Some(S::Planned),
        E::SwitchRequested
        | E::AbortRequested
        | E::RollbackRequested
        | E::LossyRollbackRequested
        | E::RollbackWithdrawn
        | E::CompleteRequested
        | E::CompleteWithoutSourceRequested
        | E::RetryChosen
        | E::RetryWithoutSourceChosen
        | E::OpenSourceChosen
        | E::OpenSourceWithoutTargetChosen
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
        | E::AbandonRequested
        | E::SourceFenceBroken
        | E::TargetDown
        | E::TargetBack => None,
    }
}

/// Prepared, or undone and thereby prepared again.
pub(super) fn ready(state: S, event: E) -> Option<S> {
    match event {
        E::SwitchRequested => Some(S::first_step(Direction::Forward)),
        E::CancelRequested => Some(S::Cancelling),
        E::MovedByHand => Some(S::NeedsOperator {
            direction: Direction::Forward,
            step: Step::Prepare,
        }),
        E::Restarted => Some(state),
        E::StartRequested
        | E::AbortRequested
        | E::RollbackRequested
        | E::LossyRollbackRequested
        | E::RollbackWithdrawn
        | E::CompleteRequested
        | E::CompleteWithoutSourceRequested
        | E::RetryChosen
        | E::RetryWithoutSourceChosen
        | E::OpenSourceChosen
        | E::OpenSourceWithoutTargetChosen
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
        | E::SourceWritesAccepted
        | E::AbandonRequested
        | E::SourceFenceBroken
        | E::TargetDown
        | E::TargetBack => None,
    }
}

/// Rolled back, completed or cancelled.
pub(super) fn over(state: S, event: E) -> Option<S> {
    match event {
        E::Restarted => Some(state),
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
        | E::AbandonRequested
        | E::SourceFenceBroken
        | E::TargetDown
        | E::TargetBack => None,
    }
}
