//! Set-up, completion and cancellation: commands outside of a switch. One that failed can be
//! asked for again, and a restart owes what was owed.

use crate::machine::{
    event::Event as E,
    state::{State as S, StreamState},
};

pub(super) fn setting_up(event: E) -> Option<S> {
    ended(event, S::SettingUp, S::Prepared, S::Planned)
}

pub(super) fn completing(event: E) -> Option<S> {
    let watched = S::Baking {
        stream: StreamState::Arming,
    };
    // The completion looks at the source before it takes anything down.
    if event == E::SourceFenceBroken {
        return Some(watched);
    }
    ended(event, S::Completing, S::Completed, watched)
}

pub(super) fn cancelling(event: E) -> Option<S> {
    // Some of what `start` made may be gone: a switch needs another start.
    ended(event, S::Cancelling, S::Cancelled, S::Planned)
}

fn ended(event: E, owed: S, done: S, failed: S) -> Option<S> {
    match event {
        E::Done => Some(done),
        E::Failed | E::Unanswered => Some(failed),
        E::Restarted => Some(owed),
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
        | E::DoneReadersMoved
        | E::DoneManaged
        | E::NotYet
        | E::NotReceived
        | E::TargetGone
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
