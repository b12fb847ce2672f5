//! What the driver is told to do about an event.

use super::{steps::STEPS, *};
use crate::machine::Effect as F;

fn effects(state: State, event: Event) -> Vec<F> {
    machine(state).apply(event, NOW).unwrap().effects
}

fn journal(intent: Option<Command>) -> F {
    F::Journal {
        durability: Durability::Now,
        intent,
    }
}

#[test]
fn a_switch_that_begins_forgets_the_former_attempt_and_its_sessions() {
    assert_eq!(
        effects(State::Prepared, Event::SwitchRequested),
        [
            F::BeginSwitch(Direction::Forward),
            F::ForgetSessions,
            journal(Some(Command::Step(Direction::Forward, Step::Prepare))),
        ]
    );
    assert_eq!(
        effects(baking(StreamState::Proven), Event::RollbackRequested),
        [
            F::BeginSwitch(Direction::Reverse),
            F::ForgetSessions,
            F::RememberCause,
            journal(Some(Command::Step(Direction::Reverse, Step::Prepare))),
        ]
    );
}

#[test]
fn an_intent_on_which_recovery_does_not_depend_is_written_with_the_next_one() {
    for direction in DIRECTIONS {
        for pair in STEPS.windows(2) {
            let [(done, ..), (next, _, durability)] = [pair[0], pair[1]];
            let durability = match (direction, next) {
                // It lets superusers into the source.
                (Direction::Reverse, Step::Prime) => Durability::Now,
                _ => durability,
            };
            assert_eq!(
                effects(switching(direction, done), Event::Done),
                [F::Journal {
                    durability,
                    intent: Some(Command::Step(direction, next)),
                }],
                "{direction:?} {done:?}"
            );
        }
    }
}

#[test]
fn every_change_but_the_deferred_ones_is_durable() {
    for state in every_state() {
        for event in Event::ALL {
            let Ok(transition) = machine(state).apply(event, NOW) else {
                continue;
            };
            let next = transition.machine.state();
            let durability = transition.effects.iter().find_map(|effect| match effect {
                F::Journal { durability, .. } => Some(*durability),
                F::BeginSwitch(_)
                | F::ForgetSessions
                | F::RememberCause
                | F::ForgetCause
                | F::Remark(_)
                | F::TryAgain
                | F::CountRisk
                | F::HoldWriters
                | F::ReleaseLease => None,
            });
            if durability != Some(Durability::Now) && next != state {
                let deferred = STEPS.iter().any(|&(deferred, _, durability)| {
                    durability == Durability::WithTheNext
                        && matches!(next, State::Switching { step, .. } if step == deferred)
                });
                assert!(deferred && event == Event::Done, "{event:?} in {state:?}");
            }
        }
    }
}

#[test]
fn past_the_point_of_no_return_a_silent_server_is_asked_again_with_new_sessions() {
    let again = [F::ForgetSessions, F::TryAgain];
    for state in [
        switching(Direction::Forward, Step::Promote),
        switching(Direction::Forward, Step::Flip),
        switching(Direction::Reverse, Step::Flip),
        State::Undoing {
            direction: Direction::Forward,
            step: Step::Hold,
        },
    ] {
        assert_eq!(effects(state, Event::Unanswered), again, "{state:?}");
    }
    let turns_back = effects(
        switching(Direction::Forward, Step::Fence),
        Event::Unanswered,
    );
    assert_eq!(
        turns_back,
        [
            F::ForgetSessions,
            F::RememberCause,
            journal(Some(Command::Undo(Direction::Forward, Step::Fence))),
        ]
    );
}

#[test]
fn what_fails_while_a_bake_arms_is_remarked_and_fails_nothing() {
    for stream in [StreamState::Arming, StreamState::ArmingForRollback] {
        for event in [Event::Failed, Event::Unanswered] {
            assert_eq!(
                effects(baking(stream), event),
                [F::ForgetSessions, F::Remark(Remark::NotArmed)]
            );
        }
    }
}

#[test]
fn a_stream_that_broke_makes_the_risk_counted() {
    assert_eq!(
        effects(baking(StreamState::Arming), Event::ReverseStreamBroke),
        [journal(Some(Command::Watch)), F::CountRisk]
    );
}

#[test]
fn an_alarm_that_would_lose_writes_is_remarked() {
    assert_eq!(
        effects(baking(StreamState::Broken), Event::AlarmFired),
        [F::Remark(Remark::AlarmWouldLose)]
    );
}

#[test]
fn the_lease_is_released_with_the_end_and_after_a_crash_behind_it() {
    let ends = [
        (
            switching(Direction::Reverse, Step::Flip),
            State::RolledBack,
            vec![journal(None), F::ReleaseLease],
        ),
        (
            State::Completing,
            State::Completed,
            vec![F::ForgetCause, journal(None), F::ReleaseLease],
        ),
        (
            State::Cancelling,
            State::Cancelled,
            vec![F::ForgetCause, journal(None), F::ReleaseLease],
        ),
    ];
    for (last, over, expected) in ends {
        assert_eq!(effects(last, Event::Done), expected, "{over:?}");
        assert_eq!(effects(over, Event::Restarted), [F::ReleaseLease]);
    }
}

#[test]
fn what_is_given_up_frees_its_servers_and_owes_them_nothing() {
    for state in [
        baking(StreamState::Arming),
        promoting(PromotionStage::Stalled),
        State::NeedsOperator {
            direction: Direction::Forward,
            step: Step::Promote,
        },
    ] {
        let given_up = effects(state, Event::AbandonRequested);
        let expected = [F::RememberCause, journal(None), F::ReleaseLease];
        assert_eq!(given_up, expected, "{state:?}");
    }
    assert_eq!(
        effects(State::Abandoned, Event::Restarted),
        [F::ReleaseLease]
    );
}

#[test]
fn readers_get_an_intent_a_command_and_an_entry() {
    let proved = State::Undoing {
        direction: Direction::Forward,
        step: Step::Prove,
    };
    let undone = machine(proved).apply(Event::DoneReadersMoved, NOW).unwrap();
    assert_eq!(
        undone.effects,
        [journal(Some(Command::RestoreReaders))],
        "the intent is on the disk before the first look"
    );
    let effects = |event| undone.machine.apply(event, NOW).unwrap().effects;
    assert_eq!(effects(Event::NotYet), [F::TryAgain]);
    assert_eq!(effects(Event::Unanswered), [F::ForgetSessions, F::TryAgain]);
    assert_eq!(effects(Event::Done), [journal(None)]);
}

#[test]
fn a_failed_switch_remembers_its_cause_and_opens_new_sessions() {
    assert_eq!(
        effects(switching(Direction::Forward, Step::Promote), Event::Failed),
        [F::ForgetSessions, F::RememberCause, journal(None)]
    );
    assert_eq!(
        effects(switching(Direction::Forward, Step::Prove), Event::Failed),
        [
            F::ForgetSessions,
            F::RememberCause,
            journal(Some(Command::Undo(Direction::Forward, Step::Prove))),
        ]
    );
}
