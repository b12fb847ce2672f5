//! The whole table, one row a state. Every event that a row does not name is not possible.

use super::{
    steps::{Part, part},
    *,
};
use crate::machine::{Event as E, PromotionStage as Stage, State as S, StreamState as Stream};

#[test]
fn every_pair_of_state_and_event_leads_where_the_table_says() {
    for state in every_state() {
        let row = row(state);
        for event in Event::ALL {
            let listed = row.iter().find(|(listed, _)| *listed == event);
            let expected = listed
                .map(|&(_, next)| next)
                .ok_or(NotPossible { state, event });
            assert_eq!(state.apply(event), expected, "{event:?} in {state:?}");
        }
    }
}

#[test]
fn an_event_that_is_not_possible_goes_back_to_its_sender_and_changes_nothing() {
    for state in every_state() {
        for event in Event::ALL {
            let machine = machine(state);
            let applied = machine.apply(event, NOW);
            match state.apply(event) {
                Ok(next) => assert_eq!(applied.unwrap().machine.state(), next),
                Err(refused) => assert_eq!(applied, Err(refused)),
            }
        }
    }
}

#[test]
fn a_refused_event_says_which_and_where() {
    let refused = S::Planned.apply(E::SwitchRequested).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "SwitchRequested is not possible in Planned"
    );
}

fn row(state: S) -> Vec<(E, S)> {
    match state {
        S::Planned => vec![
            (E::StartRequested, S::SettingUp),
            (E::CancelRequested, S::Cancelling),
            (E::Restarted, S::Planned),
        ],
        S::SettingUp => vec![
            (E::Done, S::Prepared),
            (E::Failed, S::Planned),
            (E::Unanswered, S::Planned),
            (E::Restarted, S::SettingUp),
        ],
        S::Prepared | S::Undone => vec![
            (
                E::SwitchRequested,
                switching(Direction::Forward, Step::Prepare),
            ),
            (E::CancelRequested, S::Cancelling),
            (E::MovedByHand, stuck(Direction::Forward, Step::Prepare)),
            (E::Restarted, state),
        ],
        S::Switching { direction, step } => switching_row(direction, step),
        S::Promoting { stage } => promoting_row(stage),
        S::Undoing { direction, step } => undoing_row(direction, step),
        S::Baking { stream } => baking_row(stream),
        S::Completing => vec![
            (E::Done, S::Completed),
            (E::Failed, baking(Stream::Arming)),
            (E::Unanswered, baking(Stream::Arming)),
            (E::SourceFenceBroken, baking(Stream::Arming)),
            (E::Restarted, S::Completing),
        ],
        S::Cancelling => vec![
            (E::Done, S::Cancelled),
            (E::Failed, S::Planned),
            (E::Unanswered, S::Planned),
            (E::Restarted, S::Cancelling),
        ],
        S::RolledBack | S::Completed | S::Cancelled | S::Abandoned => vec![(E::Restarted, state)],
        S::NeedsOperator { direction, step } => needs_operator_row(direction, step),
    }
}

fn switching_row(direction: Direction, step: Step) -> Vec<(E, S)> {
    use {Direction as D, Part as P};
    let here = switching(direction, step);
    let undoing = S::Undoing { direction, step };
    let stuck = S::NeedsOperator { direction, step };
    let next = match (step.next(), direction) {
        (Some(next), direction) => switching(direction, next),
        (None, D::Forward) => baking(Stream::Arming),
        (None, D::Reverse) => S::RolledBack,
    };
    let mut row = vec![
        (E::Done, next),
        (E::Unprovable, stuck),
        (E::ReverseStreamBroke, stuck),
    ];
    if (direction, step) == (D::Forward, Step::Prove) {
        row.push((E::DoneManaged, promoting(Stage::Requesting)));
    }
    if (direction, step) == (D::Forward, Step::Promote) {
        row.push((E::DoneManaged, promoting(Stage::UnderWay)));
    }
    if direction == D::Reverse && part(step) != P::Opens {
        row.push((E::SourceFenceBroken, undoing));
    }
    row.extend(match (direction, part(step)) {
        (D::Forward, P::Undoable) | (D::Reverse, P::Undoable | P::Promotes) => vec![
            (E::AbortRequested, undoing),
            (E::Failed, undoing),
            (E::Unanswered, undoing),
            (E::Restarted, undoing),
            (E::FailedTargetUnwritten, stuck),
        ],
        (D::Forward, P::Promotes) => vec![
            (E::Failed, stuck),
            (E::Unanswered, here),
            (E::Restarted, here),
            (E::FailedTargetUnwritten, undoing),
        ],
        (D::Forward | D::Reverse, P::Opens) => vec![
            (E::Failed, stuck),
            (E::Unanswered, here),
            (E::Restarted, here),
            (E::FailedTargetUnwritten, stuck),
        ],
    });
    row
}

fn promoting_row(stage: Stage) -> Vec<(E, S)> {
    let [requesting, under_way, stalled] = STAGES.map(promoting);
    let opens_source = S::Undoing {
        direction: Direction::Forward,
        step: Step::Promote,
    };
    let through = switching(Direction::Forward, Step::Prime);
    let mut row = vec![
        (E::Failed, stalled),
        (E::FailedTargetUnwritten, stalled),
        (E::Unprovable, stalled),
        (E::ReverseStreamBroke, stalled),
    ];
    row.extend(match stage {
        Stage::Requesting => vec![
            (E::Done, under_way),
            (E::Unanswered, under_way),
            (E::Restarted, under_way),
        ],
        Stage::UnderWay => vec![
            (E::Done, through),
            (E::NotYet, under_way),
            (E::Unanswered, under_way),
            (E::Restarted, under_way),
            (E::NotReceived, requesting),
            (E::TargetGone, opens_source),
            (E::OpenSourceWithoutTargetChosen, opens_source),
        ],
        Stage::Stalled => vec![
            (E::Done, through),
            (E::NotYet, stalled),
            (E::Unanswered, stalled),
            (E::Restarted, stalled),
            (E::NotReceived, stalled),
            (E::TargetGone, opens_source),
            (E::OpenSourceWithoutTargetChosen, opens_source),
            (E::WaitChosen, under_way),
            (E::AbandonRequested, S::Abandoned),
        ],
    });
    row
}

fn undoing_row(direction: Direction, step: Step) -> Vec<(E, S)> {
    use {Direction as D, Part as P};
    let here = S::Undoing { direction, step };
    let stuck = S::NeedsOperator { direction, step };
    let mut row = vec![
        (E::Failed, stuck),
        (E::FailedTargetUnwritten, stuck),
        (E::Unprovable, stuck),
        (E::ReverseStreamBroke, stuck),
        (E::Unanswered, here),
        (E::Restarted, here),
    ];
    row.extend(match (direction, part(step)) {
        (D::Forward, P::Undoable) => {
            vec![(E::Done, S::Undone), (E::DoneReadersMoved, S::Undone)]
        }
        (D::Forward, P::Promotes | P::Opens) => vec![
            (E::Done, S::RolledBack),
            (E::DoneReadersMoved, S::RolledBack),
        ],
        (D::Reverse, _) => vec![
            (E::Done, baking(Stream::Arming)),
            (E::SourceOpened, S::RolledBack),
        ],
    });
    row
}

fn baking_row(stream: Stream) -> Vec<(E, S)> {
    let here = baking(stream);
    let back = switching(Direction::Reverse, Step::Prepare);
    let without_target = S::Undoing {
        direction: Direction::Reverse,
        step: Step::Prepare,
    };
    let mut row = vec![
        (E::LossyRollbackRequested, back),
        (E::OpenSourceWithoutTargetChosen, without_target),
        (E::MovedByHand, stuck(Direction::Reverse, Step::Prepare)),
        (E::Restarted, here),
        (E::SourceFenceBroken, baking(Stream::Arming)),
        (E::SlotsGivenUp, baking(Stream::Broken)),
        (E::SourceWritesAccepted, here),
        (E::TargetDown, here),
        (E::TargetBack, here),
        (E::AbandonRequested, S::Abandoned),
    ];
    row.extend(match stream {
        Stream::Arming => vec![
            (E::Done, baking(Stream::Proven)),
            (E::Failed, here),
            (E::Unanswered, here),
            (E::RollbackRequested, baking(Stream::ArmingForRollback)),
            (E::AlarmFired, baking(Stream::ArmingForRollback)),
            (E::CompleteRequested, S::Completing),
            (E::CompleteWithoutSourceRequested, S::Completing),
            (E::ReverseStreamBroke, baking(Stream::Broken)),
        ],
        Stream::ArmingForRollback => vec![
            (E::Done, back),
            (E::Failed, here),
            (E::Unanswered, here),
            (E::RollbackRequested, here),
            (E::RollbackWithdrawn, baking(Stream::Arming)),
            (E::ReverseStreamBroke, back),
        ],
        Stream::Proven => vec![
            (E::RollbackRequested, back),
            (E::AlarmFired, back),
            (E::CompleteRequested, S::Completing),
            (E::CompleteWithoutSourceRequested, S::Completing),
            (E::ReverseStreamBroke, baking(Stream::Broken)),
            (E::ReverseStreamLapsed, baking(Stream::Arming)),
        ],
        Stream::Broken => vec![
            (E::RollbackRequested, back),
            (E::AlarmFired, here),
            (E::CompleteRequested, S::Completing),
            (E::CompleteWithoutSourceRequested, S::Completing),
            (E::ReverseStreamLapsed, baking(Stream::Arming)),
        ],
    });
    row
}

fn needs_operator_row(direction: Direction, step: Step) -> Vec<(E, S)> {
    use {Direction as D, Part as P};
    let undoing = S::Undoing { direction, step };
    // A migration that is parked in its bake does not know how the source stands.
    let closes_again = match step {
        Step::Prepare => S::Undoing {
            direction,
            step: Step::Prime,
        },
        Step::Hold
        | Step::Fence
        | Step::CatchUp
        | Step::Prove
        | Step::Promote
        | Step::Prime
        | Step::Flip => undoing,
    };
    let again = switching(direction, step);
    let mut row = vec![
        (E::Restarted, S::NeedsOperator { direction, step }),
        (E::AbandonRequested, S::Abandoned),
    ];
    row.extend(match (direction, part(step)) {
        (D::Forward, P::Undoable) => vec![
            (E::RetryChosen, undoing),
            (E::OpenSourceChosen, undoing),
            (E::OpenSourceWithoutTargetChosen, undoing),
        ],
        (D::Forward, P::Promotes | P::Opens) => vec![
            (E::RetryChosen, again),
            (E::RetryWithoutSourceChosen, again),
            (E::OpenSourceChosen, undoing),
            (E::OpenSourceWithoutTargetChosen, undoing),
        ],
        (D::Reverse, P::Undoable | P::Promotes) => vec![
            (E::RetryChosen, closes_again),
            (E::OpenSourceWithoutTargetChosen, undoing),
        ],
        (D::Reverse, P::Opens) => vec![
            (E::RetryChosen, again),
            (E::OpenSourceWithoutTargetChosen, again),
        ],
    });
    row
}

fn stuck(direction: Direction, step: Step) -> S {
    S::NeedsOperator { direction, step }
}
