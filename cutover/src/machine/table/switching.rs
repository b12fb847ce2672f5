use crate::machine::{
    direction::Direction,
    event::Event as E,
    state::{PromotionStage, State as S, StreamState},
    step::Step,
};

pub(super) fn next(direction: Direction, step: Step, event: E) -> Option<S> {
    let here = S::Switching { direction, step };
    let undoing = S::Undoing { direction, step };
    let stuck = S::NeedsOperator { direction, step };
    let can_be_undone = step.can_be_undone(direction);
    match event {
        E::Done => Some(after(direction, step)),
        E::DoneManaged => managed(direction, step),
        E::AbortRequested if can_be_undone => Some(undoing),
        // Past the point of no return a failure cannot be taken back.
        E::Failed => Some(if can_be_undone { undoing } else { stuck }),
        // Past it a server that is silent is asked again.
        E::Unanswered => Some(if can_be_undone { undoing } else { here }),
        // Sessions and deadlines died with the former process. What has not passed the
        // point of no return goes back; what has is carried on.
        E::Restarted => Some(if can_be_undone { undoing } else { here }),
        E::FailedTargetUnwritten => Some(if target_is_closed(direction, step) {
            undoing
        } else {
            stuck
        }),
        // A rollback looks at it before it holds anybody.
        E::SourceFenceBroken => match direction {
            Direction::Reverse if can_be_undone => Some(undoing),
            Direction::Forward | Direction::Reverse => None,
        },
        // No step reports a broken stream; one that does has proven nothing.
        E::Unprovable | E::ReverseStreamBroke => Some(stuck),
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
        | E::NotYet
        | E::NotReceived
        | E::TargetGone
        | E::AlarmFired
        | E::ReverseStreamLapsed
        | E::SlotsGivenUp
        | E::SourceOpened
        | E::MovedByHand
        | E::AbandonRequested
        | E::SourceWritesAccepted
        | E::TargetDown
        | E::TargetBack => None,
    }
}

fn after(direction: Direction, step: Step) -> S {
    match (step.next(), direction) {
        (Some(step), direction) => S::Switching { direction, step },
        (None, Direction::Forward) => S::Baking {
            stream: StreamState::Arming,
        },
        (None, Direction::Reverse) => S::RolledBack,
    }
}

/// The promotion's own step sends nothing: a request may have been sent before an operator chose
/// to try again.
fn managed(direction: Direction, step: Step) -> Option<S> {
    let stage = match direction {
        Direction::Forward if step == Step::Prove => PromotionStage::Requesting,
        Direction::Forward if step == Step::Promote => PromotionStage::UnderWay,
        Direction::Forward | Direction::Reverse => return None,
    };
    Some(S::Promoting { stage })
}

/// Whether the target can be a promoted server that nobody was let into: between the intent
/// to promote and the opening.
fn target_is_closed(direction: Direction, step: Step) -> bool {
    match direction {
        Direction::Forward => (Step::Promote..Step::Flip).contains(&step),
        Direction::Reverse => false,
    }
}
