//! Names as journals, `status` and scripts have them.

use super::*;

#[test]
fn states_have_the_names_that_status_prints() {
    let stuck = State::NeedsOperator {
        direction: Direction::Forward,
        step: Step::Promote,
    };
    let undoing = State::Undoing {
        direction: Direction::Reverse,
        step: Step::Hold,
    };
    for (state, name) in [
        (State::Planned, "planned"),
        (State::SettingUp, "setting_up"),
        (State::Prepared, "prepared"),
        (switching(Direction::Forward, Step::Hold), "switching"),
        (promoting(PromotionStage::Requesting), "promoting"),
        (promoting(PromotionStage::UnderWay), "promoting"),
        (promoting(PromotionStage::Stalled), "promotion_stalled"),
        (undoing, "undoing"),
        (State::Undone, "undone"),
        (baking(StreamState::Broken), "baking"),
        (State::RolledBack, "rolled_back"),
        (State::Completing, "completing"),
        (State::Completed, "completed"),
        (State::Cancelling, "cancelling"),
        (State::Cancelled, "cancelled"),
        (stuck, "needs_operator"),
    ] {
        assert_eq!(state.label(), name);
    }
    let streams = ["arming", "arming", "proven", "broken"];
    assert_eq!(STREAMS.map(StreamState::label), streams);
    assert_eq!(DIRECTIONS.map(Direction::label), ["forward", "reverse"]);
    assert_eq!(
        [Side::Source, Side::Target].map(Side::label),
        ["source", "target"]
    );
}

#[test]
fn a_switch_takes_the_writers_from_the_source_and_a_rollback_from_the_target() {
    assert_eq!(Direction::Forward.leaves(), Side::Source);
    assert_eq!(Direction::Reverse.leaves(), Side::Target);
}

#[test]
fn commands_have_the_names_that_journals_print() {
    let steps = [
        "prepare", "hold", "fence", "catch_up", "prove", "promote", "prime", "flip",
    ];
    assert_eq!(Step::ALL.map(Step::label), steps);
    for direction in DIRECTIONS {
        let step = |step| Command::Step(direction, step).label();
        assert_eq!(Step::ALL.map(step), steps);
        assert_eq!(Command::Undo(direction, Step::Hold).label(), "undo");
    }
    for (command, name) in [
        (Command::SetUp, "start"),
        (Command::RequestPromotion, "request_promotion"),
        (Command::AwaitPromotion, "await_promotion"),
        (Command::Arm, "arm"),
        (Command::Watch, "bake"),
        (Command::Complete, "complete"),
        (Command::Cancel, "cancel"),
        (Command::RestoreReaders, "readers"),
    ] {
        assert_eq!(command.label(), name);
    }
}

#[test]
fn each_state_says_how_an_operator_ends_it() {
    let says = |state: State, words: &str| {
        let way = state.way_to_end();
        assert!(way.contains(words), "{state:?}: {way}");
    };
    for state in every_state() {
        says(
            state,
            match state {
                State::Planned | State::Prepared | State::Undone => "migration cancel",
                State::Baking { .. } => "migration rollback",
                State::NeedsOperator { .. }
                | State::Promoting {
                    stage: PromotionStage::Stalled,
                } => "migration resolve",
                State::SettingUp
                | State::Switching { .. }
                | State::Promoting { .. }
                | State::Undoing { .. }
                | State::Completing
                | State::Cancelling => "wait",
                State::RolledBack | State::Completed | State::Cancelled | State::Abandoned => {
                    "has ended"
                }
            },
        );
    }
}

#[test]
fn the_place_of_a_switch_is_its_direction_and_step() {
    for direction in DIRECTIONS {
        for step in Step::ALL {
            let here = Some((direction, step));
            assert_eq!(switching(direction, step).place(), here);
            assert_eq!(State::Undoing { direction, step }.place(), here);
            assert_eq!(State::NeedsOperator { direction, step }.place(), here);
        }
    }
    for stage in STAGES {
        let here = Some((Direction::Forward, Step::Promote));
        assert_eq!(promoting(stage).place(), here);
    }
    for state in [State::Planned, State::Undone, State::Completing] {
        assert_eq!(state.place(), None);
    }
}

#[test]
fn a_leader_that_is_told_to_stop_ends_a_switch_and_an_undo_first() {
    for state in every_state() {
        let in_a_switch = matches!(
            state,
            State::Switching { .. }
                | State::Undoing { .. }
                | State::Promoting {
                    stage: PromotionStage::Requesting
                }
        );
        assert_eq!(state.outlasts_a_stop(), in_a_switch, "{state:?}");
    }
}
