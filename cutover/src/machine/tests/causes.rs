//! Why a migration stands where it does, and which sessions are believed afterwards.

use std::time::Duration;

use super::{steps::STEPS, *};
use crate::machine::Effect as F;

fn effects(machine: Machine, event: Event) -> Vec<F> {
    machine
        .apply(event, NOW)
        .map_or_else(|_| Vec::new(), |next| next.effects)
}

fn after(machine: Machine, event: Event) -> Machine {
    machine.apply(event, NOW).unwrap().machine
}

fn failed(event: Event) -> bool {
    matches!(
        event,
        Event::Failed
            | Event::Unanswered
            | Event::FailedTargetUnwritten
            | Event::Unprovable
            | Event::ReverseStreamBroke
    )
}

/// Every change, by its state, its event, and what is done about it.
fn changes() -> impl Iterator<Item = (State, Event, State, Vec<F>)> {
    let pairs = every_state().into_iter();
    let pairs = pairs.flat_map(|state| Event::ALL.map(|event| (state, event)));
    pairs.filter_map(|(state, event)| {
        let next = machine(state).apply(event, NOW).ok()?;
        let journalled = |effect: &F| matches!(effect, F::Journal { .. });
        let changes = next.effects.iter().any(journalled);
        changes.then(|| (state, event, next.machine.state(), next.effects))
    })
}

#[test]
fn a_cause_is_a_request_an_alarm_a_finding_a_failure_or_a_crash_that_ends_a_switch() {
    for (state, event, next, effects) in changes() {
        let asked_or_seen = matches!(
            event,
            Event::AbortRequested
                | Event::RollbackRequested
                | Event::LossyRollbackRequested
                | Event::RollbackWithdrawn
                | Event::AlarmFired
                | Event::SourceFenceBroken
                | Event::SlotsGivenUp
                | Event::TargetGone
                | Event::SourceOpened
                | Event::MovedByHand
                | Event::AbandonRequested
        );
        let ended = event == Event::Restarted
            && matches!(state, State::Switching { .. })
            && matches!(next, State::Undoing { .. });
        let baking = matches!(state, State::Baking { .. });
        // A request that was not answered may have been received.
        let asking = state == promoting(PromotionStage::Requesting);
        let fails = failed(event) && !baking && !(asking && event == Event::Unanswered);
        assert_eq!(
            effects.contains(&F::RememberCause),
            asked_or_seen || ended || fails,
            "{event:?} in {state:?}"
        );
    }
}

#[test]
fn a_cause_is_forgotten_once_it_is_mended() {
    for (state, event, next, effects) in changes() {
        let stalled = state == promoting(PromotionStage::Stalled);
        let goes_on =
            stalled && next != state && !matches!(next, State::Undoing { .. } | State::Abandoned);
        let ends = matches!(next, State::Completed | State::Cancelled) && next != state;
        assert_eq!(
            effects.contains(&F::ForgetCause),
            goes_on || ends,
            "{event:?} in {state:?}"
        );
    }
}

#[test]
fn sessions_are_forgotten_with_a_new_epoch_a_failure_and_a_promotion_that_was_asked_for() {
    for (state, event, next, effects) in changes() {
        let new_epoch = machine(state).apply(event, NOW).unwrap().machine.epoch() > 1;
        let baking = matches!(state, State::Baking { .. });
        let asked = state == promoting(PromotionStage::Requesting) && next != state;
        let expected = new_epoch || (failed(event) && !baking) || asked;
        assert_eq!(
            effects.contains(&F::ForgetSessions),
            expected,
            "{event:?} in {state:?}"
        );
    }
}

/// What a step leads to may be written with the next entry; why something failed, or who took over, may
/// not, wherever it leads.
#[test]
fn only_a_step_that_succeeded_may_be_written_with_the_next_entry() {
    for (state, event, next, effects) in changes() {
        let deferrable = match next {
            State::Switching { direction, step } => {
                let (_, _, durability) =
                    STEPS[Step::ALL.iter().position(|it| *it == step).unwrap()];
                let lets_in = (direction, step) == (Direction::Reverse, Step::Prime);
                durability == Durability::WithTheNext && !lets_in
            }
            State::Planned
            | State::SettingUp
            | State::Prepared
            | State::Promoting { .. }
            | State::Undoing { .. }
            | State::Undone
            | State::Baking { .. }
            | State::RolledBack
            | State::Completing
            | State::Completed
            | State::Cancelling
            | State::Cancelled
            | State::Abandoned
            | State::NeedsOperator { .. } => false,
        };
        let succeeded = event == Event::Done && matches!(state, State::Switching { .. });
        let deferred = effects.iter().any(|effect| {
            let durability = Durability::WithTheNext;
            matches!(effect, F::Journal { durability: found, .. } if *found == durability)
        });
        assert_eq!(deferred, succeeded && deferrable, "{event:?} in {state:?}");
    }
}

/// The loss is counted once, when the stream breaks in a bake.
#[test]
fn what_would_be_lost_is_counted_where_a_stream_breaks_in_a_bake() {
    for (state, event, _, effects) in changes() {
        let baking = matches!(state, State::Baking { .. });
        assert_eq!(
            effects.contains(&F::CountRisk),
            baking && event == Event::ReverseStreamBroke,
            "{event:?} in {state:?}"
        );
    }
}

fn target_said_to_be_down(stream: StreamState) -> Machine {
    after(
        machine(baking(stream)),
        Event::OpenSourceWithoutTargetChosen,
    )
}

#[test]
fn a_target_that_answers_refutes_the_word_that_it_is_down_and_nothing_else_changes() {
    let said = target_said_to_be_down(StreamState::Proven);
    assert!(said.holds(Assertion::TargetDown));
    let refuted = said.apply(Event::Done, NOW).unwrap();
    assert_eq!(refuted.machine.state(), baking(StreamState::Arming));
    assert!(refuted.effects.contains(&F::RememberCause));
    assert_eq!(
        refuted.machine.alarm_backoff(),
        None,
        "no rollback was undone"
    );
    let opened = said.apply(Event::SourceOpened, NOW).unwrap();
    assert_eq!(opened.machine.state(), State::RolledBack);
    assert!(opened.effects.contains(&F::RememberCause));
}

#[test]
fn a_rollback_that_was_undone_refutes_no_word_and_makes_alarms_wait() {
    let rollback = after(
        machine(baking(StreamState::Proven)),
        Event::RollbackRequested,
    );
    let undone = after(rollback, Event::Failed)
        .apply(Event::Done, NOW)
        .unwrap();
    assert!(!undone.effects.contains(&F::RememberCause));
    assert!(undone.machine.alarm_backoff().is_some());
    let tried_again = after(after(undone.machine, Event::Done), Event::RollbackRequested);
    assert_eq!(
        tried_again.alarm_backoff(),
        undone.machine.alarm_backoff(),
        "the next rollback forgets no wait"
    );
}

/// A word of the target's from a decision ends in the bake only where the target serves.
#[test]
fn a_word_that_is_not_about_the_target_is_not_refuted_by_it() {
    let lossy = after(
        machine(baking(StreamState::Broken)),
        Event::LossyRollbackRequested,
    );
    let undone = after(lossy, Event::Failed).apply(Event::Done, NOW).unwrap();
    assert_eq!(undone.machine.state(), baking(StreamState::Arming));
    assert!(!undone.effects.contains(&F::RememberCause));
    assert!(undone.machine.alarm_backoff().is_some());
}

#[test]
fn while_a_rollback_waits_for_its_stream_no_alarm_is_listened_to() {
    let waiting = Machine {
        alarm_backoff: Some(AlarmBackoff {
            rollbacks_undone: 1,
            until: NOW.plus(Duration::from_secs(1)),
        }),
        ..machine(baking(StreamState::ArmingForRollback))
    };
    assert!(waiting.apply(Event::AlarmFired, NOW).is_err());
}

#[test]
fn readers_that_were_moved_stay_so_while_an_undo_is_tried_again() {
    for step in Step::ALL {
        let undoing = State::Undoing {
            direction: Direction::Forward,
            step,
        };
        let moved = Machine {
            readers: ReaderRoutes::Moved,
            ..machine(undoing)
        };
        for event in [Event::Restarted, Event::Unanswered] {
            assert_eq!(
                after(moved, event).readers(),
                ReaderRoutes::Moved,
                "{step:?}"
            );
        }
        assert_eq!(
            effects(moved, Event::Unanswered),
            [F::ForgetSessions, F::TryAgain]
        );
    }
}

#[test]
fn how_long_a_command_may_take_outside_of_a_hold_follows_from_what_servers_may_take() {
    let settings = crate::Settings::default();
    let seconds = Duration::from_secs;
    let length = |budget: Budget, waits| budget.length(&settings, waits, Some(seconds(1)));
    assert_eq!(
        length(Budget::Step, seconds(5)),
        seconds(5) + settings.hold_budget
    );
    assert_eq!(length(Budget::Unhurried, seconds(5)), seconds(120));
    assert_eq!(length(Budget::Unhurried, seconds(61)), seconds(122));
}
