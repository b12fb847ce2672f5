//! What the machine carries beside its state.

use std::time::Duration;

use super::*;

fn after(machine: Machine, event: Event) -> Machine {
    machine.apply(event, NOW).unwrap().machine
}

fn forward(step: Step) -> Machine {
    machine(switching(Direction::Forward, step))
}

fn undoing(direction: Direction, step: Step) -> Machine {
    machine(State::Undoing { direction, step })
}

#[test]
fn a_new_leader_a_switch_a_turn_and_a_decision_each_take_a_new_epoch_and_nothing_else_does() {
    for state in every_state() {
        for event in Event::ALL {
            let Ok(transition) = machine(state).apply(event, NOW) else {
                continue;
            };
            let next = transition.machine.state();
            let new_leader = event == Event::Restarted && !state.is_over();
            let switch = matches!(event, Event::SwitchRequested)
                || (matches!(state, State::Baking { .. })
                    && matches!(next, State::Switching { .. }));
            let turn = next != state && matches!(next, State::Undoing { .. });
            let decision = matches!(
                event,
                Event::RetryChosen
                    | Event::RetryWithoutSourceChosen
                    | Event::OpenSourceChosen
                    | Event::OpenSourceWithoutTargetChosen
                    | Event::WaitChosen
            );
            let expected = u64::from(new_leader || switch || turn || decision);
            assert_eq!(
                transition.machine.epoch() - 1,
                expected,
                "{event:?} in {state:?}"
            );
        }
    }
}

#[test]
fn a_proof_of_the_fence_is_the_leaders_own_and_of_its_epoch() {
    let proved = after(forward(Step::Prove), Event::Done);
    assert_eq!(proved.fence_proof(), FenceProof::Given);
    let next_leader = after(proved, Event::Restarted);
    assert_eq!(next_leader.state(), proved.state());
    assert_eq!(next_leader.fence_proof(), FenceProof::Owed);
    let proved_again = after(next_leader, Event::Done);
    assert_eq!(proved_again.fence_proof(), FenceProof::Given);
    assert_eq!(
        after(proved, Event::Unprovable).fence_proof(),
        FenceProof::Given
    );
    let decided = after(after(proved, Event::Unprovable), Event::RetryChosen);
    assert_eq!(decided.fence_proof(), FenceProof::Owed);
    let asked_nobody = after(
        Machine {
            assertion: Some(Assertion::SourceDown),
            ..forward(Step::Promote)
        },
        Event::Done,
    );
    assert_eq!(asked_nobody.fence_proof(), FenceProof::Owed);
}

#[test]
fn the_opening_of_the_target_wants_a_proof_of_its_own() {
    let promoted = after(after(forward(Step::Prove), Event::Done), Event::Done);
    assert_eq!(promoted.fence_proof(), FenceProof::Given);
    let opening = after(promoted, Event::Done);
    assert_eq!(opening.state(), switching(Direction::Forward, Step::Flip));
    assert_eq!(opening.fence_proof(), FenceProof::Owed);
    let tried_again = after(opening, Event::Unanswered);
    assert_eq!(tried_again.fence_proof(), FenceProof::Owed);
}

#[test]
fn an_assertion_ends_with_the_attempt_that_it_was_made_for() {
    let baked = machine(baking(StreamState::Broken));
    let mut lossy = after(baked, Event::LossyRollbackRequested);
    for step in Step::ALL {
        assert!(lossy.holds(Assertion::LossAccepted), "{step:?}");
        let failed = after(lossy, Event::Failed);
        if step < Step::Flip {
            assert!(
                failed.holds(Assertion::LossAccepted),
                "the undo of {step:?}"
            );
            let baking_again = after(failed, Event::Done);
            assert!(!baking_again.holds(Assertion::LossAccepted), "{step:?}");
        } else {
            assert!(
                !failed.holds(Assertion::LossAccepted),
                "an operator decides"
            );
        }
        lossy = after(lossy, Event::Done);
    }
    let completing = after(baked, Event::CompleteWithoutSourceRequested);
    assert!(completing.holds(Assertion::SourceDown));
    assert!(!after(completing, Event::Failed).holds(Assertion::SourceDown));
    let stuck = machine(State::NeedsOperator {
        direction: Direction::Forward,
        step: Step::Promote,
    });
    let retried = after(stuck, Event::RetryWithoutSourceChosen);
    assert!(retried.holds(Assertion::SourceDown));
    assert!(!after(retried, Event::Unprovable).holds(Assertion::SourceDown));
    let opening = after(stuck, Event::OpenSourceWithoutTargetChosen);
    assert!(opening.holds(Assertion::TargetDown));
    let stuck_again = after(opening, Event::Failed);
    assert!(!after(stuck_again, Event::OpenSourceChosen).holds(Assertion::TargetDown));
}

#[test]
fn an_alarm_and_a_plain_rollback_accept_no_loss() {
    for event in [Event::AlarmFired, Event::RollbackRequested] {
        let asserted = Machine {
            assertion: Some(Assertion::LossAccepted),
            ..machine(baking(StreamState::Proven))
        };
        assert!(!after(asserted, event).holds(Assertion::LossAccepted));
    }
}

#[test]
fn after_a_rollback_that_was_undone_alarms_wait_twice_as_long_each_time() {
    let mut machine = machine(baking(StreamState::Proven));
    let mut waits = Vec::new();
    for _ in 0..7 {
        let rolling_back = after(machine, Event::RollbackRequested);
        let undoing = after(rolling_back, Event::Failed);
        let baking = undoing.apply(Event::Done, NOW).unwrap().machine;
        let until = baking.alarm_backoff.unwrap().until;
        waits.push(until.since(NOW).as_secs());
        machine = after(baking, Event::Done);
    }
    assert_eq!(waits, [30, 60, 120, 240, 480, 960, 960]);
    let until = machine.alarm_backoff.unwrap().until;
    let early = machine.apply(Event::AlarmFired, NOW).unwrap();
    assert_eq!(early.machine, machine);
    assert_eq!(early.effects, [Effect::Remark(Remark::AlarmTooEarly)]);
    let in_time = machine.apply(Event::AlarmFired, until).unwrap().machine;
    assert_eq!(
        in_time.state(),
        switching(Direction::Reverse, Step::Prepare)
    );
    let undone = Machine {
        state: State::Undone,
        ..machine
    };
    let switched = after(undone, Event::SwitchRequested);
    assert_eq!(switched.alarm_backoff, None);
}

#[test]
fn readers_that_were_moved_wait_for_their_endpoint_until_a_switch_is_past_its_hold() {
    for step in [Step::Fence, Step::CatchUp, Step::Prove] {
        let undone = after(undoing(Direction::Forward, step), Event::DoneReadersMoved);
        assert_eq!(undone.state(), State::Undone);
        assert_eq!(undone.command(), Some(Command::RestoreReaders));
    }
    for step in [Step::Promote, Step::Prime] {
        let rolled_back = after(undoing(Direction::Forward, step), Event::DoneReadersMoved);
        assert_eq!(
            rolled_back.command(),
            None,
            "a promoted target is no reader"
        );
    }
    let waiting = after(
        undoing(Direction::Forward, Step::Prove),
        Event::DoneReadersMoved,
    );
    let prepared_again = after(
        after(after(waiting, Event::SwitchRequested), Event::Failed),
        Event::Done,
    );
    assert_eq!(prepared_again.readers(), ReaderRoutes::Moved);
    let mut switching_again = after(waiting, Event::SwitchRequested);
    for step in [Step::Prepare, Step::Hold] {
        assert_eq!(switching_again.readers(), ReaderRoutes::Moved, "{step:?}");
        switching_again = after(switching_again, Event::Done);
    }
    assert_eq!(switching_again.readers(), ReaderRoutes::Settled);
    let cancelled = after(after(waiting, Event::CancelRequested), Event::Done);
    assert_eq!(cancelled.state(), State::Cancelled);
    assert_eq!(cancelled.command(), Some(Command::RestoreReaders));
    let restored = after(cancelled, Event::Done);
    assert_eq!(restored.command(), None);
    let moved_by_hand = after(waiting, Event::MovedByHand);
    let abandoned = after(moved_by_hand, Event::AbandonRequested);
    assert_eq!(abandoned.readers(), ReaderRoutes::Moved);
    assert_eq!(
        abandoned.command(),
        None,
        "what was abandoned is left as it is"
    );
}

#[test]
fn switches_are_counted_where_they_begin() {
    let first = after(machine(State::Prepared), Event::SwitchRequested);
    assert_eq!(first.switches(), 1);
    assert_eq!(after(first, Event::Done).switches(), 1);
    let back = after(
        Machine {
            switches: 1,
            ..machine(baking(StreamState::Proven))
        },
        Event::AlarmFired,
    );
    assert_eq!(back.switches(), 2);
}

#[test]
fn a_deadline_of_a_promotion_serves_while_half_of_its_time_is_left() {
    let promote = Duration::from_secs(4);
    let deadline = PromotionDeadline::from_target_clock(UnixMillis(10_000), promote);
    assert_eq!(deadline, PromotionDeadline(UnixMillis(14_000)));
    assert!(deadline.serves(UnixMillis(11_999), promote));
    assert!(!deadline.serves(UnixMillis(12_000), promote));
    assert!(!deadline.has_passed(UnixMillis(14_000)));
    assert!(deadline.has_passed(UnixMillis(14_001)));
}

#[test]
fn a_proven_stream_lapses_after_two_seconds_of_silence() {
    let at = |millis| crate::ports::Monotonic::new(Duration::from_millis(millis));
    let mut watch = StreamWatch::default();
    assert!(!watch.is_silent(at(0), StreamState::Proven));
    assert!(!watch.is_silent(at(2_000), StreamState::Proven));
    watch.streams();
    assert!(!watch.is_silent(at(2_001), StreamState::Proven));
    assert!(!watch.is_silent(at(9_000), StreamState::Broken));
    assert!(watch.is_silent(at(9_001), StreamState::Proven));
    assert!(!watch.is_silent(at(9_002), StreamState::Proven));
}

#[test]
fn only_steps_behind_a_hold_that_can_be_undone_must_fit_into_it() {
    for direction in DIRECTIONS {
        for step in Step::ALL {
            let inside = step > Step::Hold && step < Step::point_of_no_return(direction);
            let expected = if inside {
                Budget::InsideHold
            } else if step == Step::Prepare {
                Budget::Unhurried
            } else {
                Budget::Step
            };
            assert_eq!(Command::Step(direction, step).budget(), expected);
        }
    }
    let settings = crate::Settings::default();
    let left = |millis| Some(Duration::from_millis(millis));
    let length = |left| Budget::InsideHold.length(&settings, Duration::from_secs(5), left);
    assert_eq!(length(left(10_000)), Duration::from_millis(7_500));
    assert_eq!(length(left(2_600)), Duration::from_millis(200));
    assert_eq!(length(None), Duration::from_millis(7_500));
}
