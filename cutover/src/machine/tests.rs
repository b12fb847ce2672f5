use super::*;

const DIRECTIONS: [Direction; 2] = [Direction::Forward, Direction::Reverse];

fn switching(direction: Direction, step: Step) -> State {
    State::Switching { direction, step }
}

fn every_state() -> Vec<State> {
    let mut states = vec![
        State::Planned,
        State::SettingUp,
        State::Prepared,
        State::Undone,
        State::RolledBack,
        State::Completing,
        State::Completed,
        State::Cancelling,
        State::Cancelled,
    ];
    for direction in DIRECTIONS {
        for step in Step::ALL {
            states.push(State::Switching { direction, step });
            states.push(State::Undoing { direction, step });
            states.push(State::NeedsOperator { direction, step });
        }
    }
    for reverse in [
        ReverseStream::Arming,
        ReverseStream::Proven,
        ReverseStream::Broken,
    ] {
        for rollback in [false, true] {
            states.push(State::Baking { reverse, rollback });
        }
    }
    states
}

#[test]
fn a_switch_without_trouble_ends_in_the_bake() {
    let mut state = State::Prepared.apply(Event::SwitchRequested).unwrap();
    for step in Step::ALL {
        assert_eq!(
            state.command(),
            Some(Command::Step(Direction::Forward, step))
        );
        state = state.apply(Event::Done).unwrap();
    }
    assert_eq!(state.command(), Some(Command::Arm));
    assert_eq!(
        state.apply(Event::Done).unwrap().command(),
        Some(Command::Watch)
    );
}

#[test]
fn the_way_back_is_the_same_machine_backward() {
    let mut state = State::Baking {
        reverse: ReverseStream::Proven,
        rollback: false,
    }
    .apply(Event::RollbackRequested)
    .unwrap();
    for step in Step::ALL {
        assert_eq!(
            state.command(),
            Some(Command::Step(Direction::Reverse, step))
        );
        state = state.apply(Event::Done).unwrap();
    }
    assert_eq!(state, State::RolledBack);
}

#[test]
fn a_failure_is_undone_before_the_point_of_no_return_and_only_there() {
    for direction in DIRECTIONS {
        for step in Step::ALL {
            let state = switching(direction, step);
            let undone = step < Step::point_of_no_return(direction);
            assert_eq!(state.apply(Event::Failed).is_ok(), undone, "{state:?}");
            assert_eq!(
                state.apply(Event::AbortRequested).is_ok(),
                undone,
                "{state:?}"
            );
        }
    }
}

#[test]
fn the_source_is_opened_after_the_intent_to_promote_only_by_proof_or_by_an_operator() {
    for state in every_state() {
        for event in EVERY_EVENT {
            let opens_source = matches!(
                state.apply(event),
                Ok(State::Undoing { direction: Direction::Forward, step })
                    if step >= Step::Promote
            );
            let was_undoing = matches!(state, State::Undoing { .. });
            if opens_source && !was_undoing {
                assert!(
                    matches!(
                        event,
                        Event::FailedTargetUnwritten | Event::OpenSourceChosen
                    ),
                    "{event:?} in {state:?}"
                );
            }
        }
    }
}

#[test]
fn a_restart_never_leaves_a_switch_in_between() {
    for state in every_state() {
        let after = state.apply(Event::Restarted).unwrap();
        let waits = matches!(after, State::NeedsOperator { .. });
        let settled = !after.is_moving();
        assert!(
            after.command().is_some() || waits || settled,
            "{state:?} ends in {after:?}"
        );
        if let State::Switching { direction, step } = state {
            let carried_on = after == state;
            assert_eq!(carried_on, step >= Step::point_of_no_return(direction));
        }
    }
}

#[test]
fn a_step_without_a_durable_intent_is_recovered_as_the_one_before_it() {
    for direction in DIRECTIONS {
        for pair in Step::ALL.windows(2) {
            let [before, step] = [pair[0], pair[1]];
            if step.intent_is_durable() {
                continue;
            }
            let line = Step::point_of_no_return(direction);
            assert_eq!(before < line, step < line, "{direction:?} {step:?}");
            assert_eq!(before < Step::Fence, step < Step::Fence, "{step:?}");
        }
    }
}

#[test]
fn a_rollback_arms_first_and_holds_after() {
    let arming = State::Baking {
        reverse: ReverseStream::Arming,
        rollback: false,
    };
    let waiting = arming.apply(Event::RollbackRequested).unwrap();
    assert_eq!(waiting.command(), Some(Command::Arm));
    assert_eq!(
        waiting.apply(Event::Done).unwrap(),
        switching(Direction::Reverse, Step::Prepare)
    );
}

#[test]
fn a_rollback_that_waits_for_a_stream_that_broke_counts_its_price() {
    let broke = |rollback| {
        State::Baking {
            reverse: ReverseStream::Arming,
            rollback,
        }
        .apply(Event::ReverseStreamBroke)
    };
    assert_eq!(
        broke(true).unwrap(),
        switching(Direction::Reverse, Step::Prepare)
    );
    assert_eq!(
        broke(false).unwrap(),
        State::Baking {
            reverse: ReverseStream::Broken,
            rollback: false,
        }
    );
}

#[test]
fn nothing_follows_the_end() {
    for state in every_state().into_iter().filter(|state| state.is_over()) {
        for event in EVERY_EVENT {
            let next = state.apply(event);
            assert!(
                next.is_err() || next == Ok(state),
                "{event:?} in {state:?} gave {next:?}"
            );
        }
    }
}

#[test]
fn the_journal_form_is_pinned() {
    let form = |state: State| serde_json::to_string(&state).unwrap();
    assert_eq!(form(State::Planned), r#"{"state":"planned"}"#);
    assert_eq!(
        form(switching(Direction::Forward, Step::CatchUp)),
        r#"{"state":"switching","direction":"forward","step":"catch_up"}"#
    );
    assert_eq!(
        form(State::Baking {
            reverse: ReverseStream::Proven,
            rollback: false
        }),
        r#"{"state":"baking","reverse":"proven","rollback":false}"#
    );
}

const EVERY_EVENT: [Event; 16] = [
    Event::StartRequested,
    Event::SwitchRequested,
    Event::AbortRequested,
    Event::RollbackRequested,
    Event::LossyRollbackRequested,
    Event::CompleteRequested,
    Event::CancelRequested,
    Event::Done,
    Event::Failed,
    Event::FailedTargetUnwritten,
    Event::Unprovable,
    Event::ReverseStreamBroke,
    Event::ReverseStreamLapsed,
    Event::Restarted,
    Event::RetryChosen,
    Event::OpenSourceChosen,
];
