//! A source on which somebody did something while the target bakes.

use super::*;

fn after(machine: Machine, event: Event) -> Machine {
    machine.apply(event, NOW).unwrap().machine
}

fn disturbed(stream: StreamState) -> Machine {
    after(machine(baking(stream)), Event::SourceFenceBroken)
}

#[test]
fn a_source_that_was_not_left_alone_is_shut_anew_while_the_target_serves() {
    for stream in STREAMS {
        let disturbed = disturbed(stream);
        assert_eq!(disturbed.left_source(), LeftSource::Disturbed);
        assert_eq!(disturbed.state(), baking(StreamState::Arming), "{stream:?}");
    }
}

#[test]
fn no_alarm_goes_back_by_itself_from_it() {
    let proven = after(disturbed(StreamState::Proven), Event::Done);
    assert_eq!(proven.state(), baking(StreamState::Proven));
    for left in [proven, after(proven, Event::SourceWritesAccepted)] {
        let fired = left.apply(Event::AlarmFired, NOW).unwrap();
        assert_eq!(fired.machine, left);
        assert_eq!(
            fired.effects,
            [Effect::Remark(Remark::AlarmSourceDisturbed)]
        );
    }
}

#[test]
fn only_an_operators_word_goes_back_or_on_from_it() {
    let disturbed = disturbed(StreamState::Proven);
    for event in [
        Event::RollbackRequested,
        Event::CompleteRequested,
        Event::CompleteWithoutSourceRequested,
    ] {
        assert!(disturbed.asks_for_acceptance(event), "{event:?}");
        assert!(disturbed.apply(event, NOW).is_err(), "{event:?}");
    }
    let back = after(disturbed, Event::LossyRollbackRequested);
    assert_eq!(back.state(), switching(Direction::Reverse, Step::Prepare));
    let accepted = after(disturbed, Event::SourceWritesAccepted);
    assert_eq!(
        after(accepted, Event::CompleteRequested).state(),
        State::Completing
    );
    assert!(accepted.apply(Event::RollbackRequested, NOW).is_err());
}

#[test]
fn what_is_seen_after_the_word_is_not_accepted() {
    let accepted = after(disturbed(StreamState::Proven), Event::SourceWritesAccepted);
    let again = after(accepted, Event::SourceFenceBroken);
    assert_eq!(again.left_source(), LeftSource::Disturbed);
    let completing = after(accepted, Event::CompleteRequested);
    let refused = after(completing, Event::SourceFenceBroken);
    assert_eq!(refused.state(), baking(StreamState::Arming));
    assert!(refused.apply(Event::CompleteRequested, NOW).is_err());
}

#[test]
fn a_rollback_that_finds_it_holds_nobody_and_is_taken_back() {
    let rollback = after(
        machine(baking(StreamState::Proven)),
        Event::RollbackRequested,
    );
    let undoing = after(rollback, Event::SourceFenceBroken);
    let undone = after(undoing, Event::Done);
    assert_eq!(undone.state(), baking(StreamState::Arming));
    assert_eq!(undone.left_source(), LeftSource::Disturbed);
}

#[test]
fn the_next_switch_forward_forgets_it() {
    let left = Machine {
        left_source: LeftSource::Disturbed,
        ..machine(State::Undone)
    };
    let switching = after(left, Event::SwitchRequested);
    assert_eq!(switching.left_source(), LeftSource::Quiet);
}
