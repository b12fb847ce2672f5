//! A managed promotion. It has no way back but by proof: nothing here that is only late, or only
//! failed, leads to an undo.

use crate::machine::{
    direction::Direction,
    event::Event as E,
    state::{PromotionStage as Stage, State as S},
    step::Step,
};

pub(super) fn next(stage: Stage, event: E) -> Option<S> {
    match event {
        E::Done => Some(match stage {
            Stage::Requesting => at(Stage::UnderWay),
            Stage::UnderWay | Stage::Stalled => S::Switching {
                direction: Direction::Forward,
                step: Step::Prime,
            },
        }),
        // After a restart, or without an answer, nobody knows whether the request was sent.
        E::Unanswered | E::Restarted => Some(at(match stage {
            Stage::Requesting | Stage::UnderWay => Stage::UnderWay,
            Stage::Stalled => Stage::Stalled,
        })),
        E::NotYet => observed(stage, at(stage)),
        // Behind its time nothing is sent but by an operator's choice.
        E::NotReceived => observed(
            stage,
            at(match stage {
                Stage::Requesting | Stage::UnderWay => Stage::Requesting,
                Stage::Stalled => Stage::Stalled,
            }),
        ),
        E::Failed | E::FailedTargetUnwritten | E::Unprovable | E::ReverseStreamBroke => {
            Some(at(Stage::Stalled))
        }
        E::TargetGone | E::OpenSourceWithoutTargetChosen => observed(
            stage,
            S::Undoing {
                direction: Direction::Forward,
                step: Step::Promote,
            },
        ),
        E::WaitChosen => stalled(stage, at(Stage::UnderWay)),
        E::AbandonRequested => stalled(stage, S::Abandoned),
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
        | E::DoneReadersMoved
        | E::DoneManaged
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

fn at(stage: Stage) -> S {
    S::Promoting { stage }
}

/// `next` for a promotion that did not come through in its time.
fn stalled(stage: Stage, next: S) -> Option<S> {
    match stage {
        Stage::Requesting | Stage::UnderWay => None,
        Stage::Stalled => Some(next),
    }
}

/// `next` for a promotion that is observed; one that is being asked for sees nothing yet.
fn observed(stage: Stage, next: S) -> Option<S> {
    match stage {
        Stage::Requesting => None,
        Stage::UnderWay | Stage::Stalled => Some(next),
    }
}
