//! A target that is down while it bakes.

use super::*;

const LATER: UnixMillis = UnixMillis(2_000_000);

fn after(machine: Machine, event: Event) -> Machine {
    machine.apply(event, NOW).unwrap().machine
}

fn held(stream: StreamState) -> Machine {
    after(machine(baking(stream)), Event::TargetDown)
}

#[test]
fn the_hold_is_on_record_before_it_is_published() {
    for stream in STREAMS {
        let down = machine(baking(stream)).apply(Event::TargetDown, NOW);
        let down = down.unwrap();
        assert_eq!(down.machine.held_since(), Some(NOW));
        assert_eq!(down.machine.state(), baking(stream));
        let record = Effect::Journal {
            durability: Durability::Now,
            intent: None,
        };
        assert_eq!(down.effects, [record, Effect::HoldWriters]);
    }
}

#[test]
fn one_outage_has_one_hold() {
    let held = held(StreamState::Proven);
    let again = held.apply(Event::TargetDown, LATER).unwrap().machine;
    assert_eq!(again.held_since(), Some(NOW));
    let lapsed = after(again, Event::ReverseStreamLapsed);
    let taken_over = after(lapsed, Event::Restarted);
    assert_eq!(taken_over.held_since(), Some(NOW));
    let back = after(taken_over, Event::TargetBack);
    assert_eq!(back.held_since(), None);
    let next = back.apply(Event::TargetDown, LATER).unwrap().machine;
    assert_eq!(next.held_since(), Some(LATER));
}

#[test]
fn a_rollback_that_is_undone_leaves_the_hold_to_the_bake() {
    let rollback = after(held(StreamState::Proven), Event::LossyRollbackRequested);
    let undone = after(after(rollback, Event::Unanswered), Event::Done);
    assert_eq!(undone.state(), baking(StreamState::Arming));
    assert_eq!(undone.held_since(), Some(NOW));
}

#[test]
fn nobody_is_held_for_a_target_that_is_given_up() {
    let opening = after(
        held(StreamState::Arming),
        Event::OpenSourceWithoutTargetChosen,
    );
    assert_eq!(opening.held_since(), Some(NOW));
    let opened = after(opening, Event::SourceOpened);
    assert_eq!(opened.state(), State::RolledBack);
    assert_eq!(opened.held_since(), None);
    let given_up = after(held(StreamState::Arming), Event::AbandonRequested);
    assert_eq!(given_up.held_since(), None);
}

#[test]
fn no_completion_leaves_writers_held() {
    let held = held(StreamState::Proven);
    for event in [
        Event::CompleteRequested,
        Event::CompleteWithoutSourceRequested,
    ] {
        assert!(held.waits_for_target(event), "{event:?}");
        assert!(held.apply(event, NOW).is_err(), "{event:?}");
        let back = after(held, Event::TargetBack);
        assert_eq!(after(back, event).state(), State::Completing);
    }
}
