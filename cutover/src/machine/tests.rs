use pointsman_catalog::UnixMillis;

use super::*;

mod carried;
mod causes;
mod effects;
mod left_source;
mod names;
mod outage;
mod promoting;
mod steps;
mod table;

const DIRECTIONS: [Direction; 2] = [Direction::Forward, Direction::Reverse];
const STREAMS: [StreamState; 4] = [
    StreamState::Arming,
    StreamState::ArmingForRollback,
    StreamState::Proven,
    StreamState::Broken,
];
const STAGES: [PromotionStage; 3] = [
    PromotionStage::Requesting,
    PromotionStage::UnderWay,
    PromotionStage::Stalled,
];
const NOW: UnixMillis = UnixMillis(1_000_000);

fn switching(direction: Direction, step: Step) -> State {
    State::Switching { direction, step }
}

fn baking(stream: StreamState) -> State {
    State::Baking { stream }
}

fn promoting(stage: PromotionStage) -> State {
    State::Promoting { stage }
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
        State::Abandoned,
    ];
    for direction in DIRECTIONS {
        for step in Step::ALL {
            states.push(State::Switching { direction, step });
            states.push(State::Undoing { direction, step });
            states.push(State::NeedsOperator { direction, step });
        }
    }
    states.extend(STREAMS.map(baking));
    states.extend(STAGES.map(promoting));
    states
}

/// A machine in `state` that nothing else has happened to.
fn machine(state: State) -> Machine {
    Machine {
        state,
        ..Machine::planned()
    }
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
    let mut state = baking(StreamState::Proven)
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
            let expected = if undone {
                State::Undoing { direction, step }
            } else {
                State::NeedsOperator { direction, step }
            };
            assert_eq!(state.apply(Event::Failed), Ok(expected), "{state:?}");
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
        for event in Event::ALL {
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
                        Event::FailedTargetUnwritten
                            | Event::TargetGone
                            | Event::OpenSourceChosen
                            | Event::OpenSourceWithoutTargetChosen
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
            if step.intent_is_durable(direction) {
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
    let arming = baking(StreamState::Arming);
    let waiting = arming.apply(Event::RollbackRequested).unwrap();
    assert_eq!(waiting.command(), Some(Command::Arm));
    assert_eq!(
        waiting.apply(Event::Done).unwrap(),
        switching(Direction::Reverse, Step::Prepare)
    );
}

#[test]
fn a_rollback_that_waits_for_a_stream_that_broke_counts_its_price() {
    let broke = |stream| baking(stream).apply(Event::ReverseStreamBroke);
    assert_eq!(
        broke(StreamState::ArmingForRollback).unwrap(),
        switching(Direction::Reverse, Step::Prepare)
    );
    assert_eq!(
        broke(StreamState::Arming).unwrap(),
        baking(StreamState::Broken)
    );
}

#[test]
fn nothing_follows_the_end() {
    for state in every_state().into_iter().filter(|state| state.is_over()) {
        for event in Event::ALL {
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
    assert_eq!(form(State::Planned), r#"{"phase":"planned"}"#);
    assert_eq!(
        form(switching(Direction::Forward, Step::CatchUp)),
        r#"{"phase":"switching","direction":"forward","step":"catch_up"}"#
    );
    assert_eq!(
        form(baking(StreamState::Proven)),
        r#"{"phase":"baking","stream":"proven"}"#
    );
    let machine = Machine {
        assertion: Some(Assertion::SourceDown),
        alarm_backoff: Some(AlarmBackoff {
            rollbacks_undone: 1,
            until: NOW,
        }),
        ..machine(State::NeedsOperator {
            direction: Direction::Forward,
            step: Step::Promote,
        })
    };
    assert_eq!(
        serde_json::to_string(&machine).unwrap(),
        concat!(
            r#"{"state":{"phase":"needs_operator","direction":"forward","step":"promote"},"#,
            r#""epoch":1,"switches":0,"assertion":"source_down","#,
            r#""alarm_backoff":{"rollbacks_undone":1,"until":1000000},"#,
            r#""readers":"settled","fence_proof":"owed","promotion_awaited_since":null,"#,
            r#""left_source":"quiet"}"#
        )
    );
}
