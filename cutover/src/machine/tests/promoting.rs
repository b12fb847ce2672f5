//! A managed promotion: asked once, waited for, taken back by proof alone.

use std::collections::HashSet;

use super::*;
use crate::machine::{Effect as F, PromotionStage as Stage};

fn after(machine: Machine, event: Event) -> Machine {
    machine.apply(event, NOW).unwrap().machine
}

fn effects(state: State, event: Event) -> Vec<F> {
    machine(state).apply(event, NOW).unwrap().effects
}

#[test]
fn a_switch_by_an_api_asks_waits_and_goes_on_to_prime() {
    let proved = machine(switching(Direction::Forward, Step::Prove));
    let asking = after(proved, Event::DoneManaged);
    assert_eq!(asking.command(), Some(Command::RequestPromotion));
    let waiting = after(asking, Event::Done);
    assert_eq!(waiting.command(), Some(Command::AwaitPromotion));
    assert_eq!(after(waiting, Event::NotYet), waiting);
    let through = after(waiting, Event::Done);
    assert_eq!(through.state(), switching(Direction::Forward, Step::Prime));
}

/// Every way into the stage that sends: the proof before the first request, and an API that
/// proves that it never received one.
#[test]
fn a_request_is_sent_a_second_time_only_when_the_api_never_received_the_first() {
    for state in every_state() {
        for event in Event::ALL {
            if state.apply(event) != Ok(promoting(Stage::Requesting)) {
                continue;
            }
            let first = (
                switching(Direction::Forward, Step::Prove),
                Event::DoneManaged,
            );
            let never_received = (promoting(Stage::UnderWay), Event::NotReceived);
            assert!(
                [first, never_received].contains(&(state, event)),
                "{event:?} in {state:?} sends"
            );
        }
    }
}

#[test]
fn a_crash_while_it_is_asked_for_leaves_a_promotion_that_is_observed() {
    let asking = machine(promoting(Stage::Requesting));
    let taken_over = after(asking, Event::Restarted);
    assert_eq!(taken_over.state(), promoting(Stage::UnderWay));
    assert_eq!(taken_over.epoch(), asking.epoch() + 1);
    assert_eq!(
        after(asking, Event::Unanswered).state(),
        promoting(Stage::UnderWay)
    );
}

/// The source is opened by proof that the target is gone or by an operator's assertion, and never by
/// the time that has passed or by a failure.
#[test]
fn no_time_out_and_no_failure_of_a_managed_promotion_opens_the_source() {
    for stage in STAGES {
        let mut seen = HashSet::from([promoting(stage)]);
        let mut open = vec![promoting(stage)];
        while let Some(state) = open.pop() {
            for event in Event::ALL {
                let proof_or_word = matches!(
                    event,
                    Event::TargetGone | Event::OpenSourceWithoutTargetChosen
                );
                let promotes = matches!(state, State::Promoting { .. });
                if !promotes || proof_or_word {
                    continue;
                }
                let Ok(next) = state.apply(event) else {
                    continue;
                };
                assert!(
                    !matches!(next, State::Undoing { .. }),
                    "{event:?} in {state:?} opens the source"
                );
                if seen.insert(next) {
                    open.push(next);
                }
            }
        }
    }
}

#[test]
fn an_operators_requests_cannot_stop_a_promotion_that_was_asked_for() {
    for stage in STAGES {
        for event in [
            Event::AbortRequested,
            Event::RollbackRequested,
            Event::LossyRollbackRequested,
            Event::CancelRequested,
            Event::CompleteRequested,
            Event::SwitchRequested,
            Event::OpenSourceChosen,
        ] {
            assert!(promoting(stage).apply(event).is_err(), "{event:?}");
        }
    }
}

#[test]
fn it_is_waited_for_from_the_intent_or_from_the_choice_to_wait_longer() {
    let at = |millis| UnixMillis(millis);
    let step = |machine: Machine, event, millis| machine.apply(event, at(millis)).unwrap().machine;
    let proved = machine(switching(Direction::Forward, Step::Prove));
    assert_eq!(proved.promotion_awaited_since(), None);
    let mut promoting = step(proved, Event::DoneManaged, 10);
    for (event, millis) in [
        (Event::Done, 20),
        (Event::NotYet, 30),
        (Event::Restarted, 40),
        (Event::NotReceived, 50),
        (Event::Unanswered, 60),
        (Event::Failed, 70),
    ] {
        promoting = step(promoting, event, millis);
        assert_eq!(
            promoting.promotion_awaited_since(),
            Some(at(10)),
            "{event:?}"
        );
    }
    let longer = step(promoting, Event::WaitChosen, 80);
    assert_eq!(longer.promotion_awaited_since(), Some(at(80)));
    let through = step(longer, Event::Done, 90);
    assert_eq!(through.promotion_awaited_since(), None);
}

#[test]
fn the_fence_is_proved_again_behind_a_managed_promotion() {
    let given = Machine {
        fence_proof: FenceProof::Given,
        ..machine(switching(Direction::Forward, Step::Prove))
    };
    let waiting = after(after(given, Event::DoneManaged), Event::Done);
    let through = after(waiting, Event::Done);
    assert_eq!(through.fence_proof(), FenceProof::Owed);
    assert_eq!(
        after(through, Event::Done).fence_proof(),
        FenceProof::Owed,
        "Flip looks at the source before it opens the target"
    );
}

#[test]
fn sessions_are_opened_again_after_the_request_since_the_promotion_ends_all() {
    for event in [Event::Done, Event::Unanswered] {
        assert_eq!(
            effects(promoting(Stage::Requesting), event),
            [
                F::ForgetSessions,
                F::Journal {
                    durability: Durability::Now,
                    intent: Some(Command::AwaitPromotion),
                },
            ]
        );
    }
}

#[test]
fn the_intent_to_ask_is_on_the_disk_before_anything_is_sent() {
    let proved = switching(Direction::Forward, Step::Prove);
    assert_eq!(
        effects(proved, Event::DoneManaged),
        [F::Journal {
            durability: Durability::Now,
            intent: Some(Command::RequestPromotion),
        }]
    );
}

#[test]
fn what_is_seen_meanwhile_is_remarked_and_changes_nothing() {
    for (stage, event) in [
        (Stage::UnderWay, Event::NotYet),
        (Stage::Stalled, Event::NotYet),
        (Stage::Stalled, Event::NotReceived),
    ] {
        assert_eq!(
            effects(promoting(stage), event),
            [F::Remark(Remark::PromotionObserved)]
        );
    }
    for (stage, event) in [
        (Stage::UnderWay, Event::Unanswered),
        (Stage::Stalled, Event::Failed),
        (Stage::Stalled, Event::Unprovable),
    ] {
        assert_eq!(
            effects(promoting(stage), event),
            [F::ForgetSessions, F::Remark(Remark::PromotionObserved)]
        );
    }
}

#[test]
fn a_cause_stands_while_it_is_stalled_and_goes_with_that() {
    let cause = |state, event, effect| effects(state, event).contains(&effect);
    let under_way = promoting(Stage::UnderWay);
    let stalled = promoting(Stage::Stalled);
    assert!(cause(under_way, Event::Failed, F::RememberCause));
    assert!(cause(under_way, Event::TargetGone, F::RememberCause));
    for event in [Event::Done, Event::WaitChosen] {
        assert!(cause(stalled, event, F::ForgetCause), "{event:?}");
    }
    assert!(!cause(stalled, Event::TargetGone, F::ForgetCause));
}

#[test]
fn an_operators_assertion_ends_where_it_stalls() {
    let asserted = Machine {
        assertion: Some(Assertion::SourceDown),
        ..machine(promoting(Stage::UnderWay))
    };
    assert!(after(asserted, Event::Done).holds(Assertion::SourceDown));
    assert!(!after(asserted, Event::Failed).holds(Assertion::SourceDown));
}

#[test]
fn a_process_that_stops_leaves_a_promotion_that_was_asked_for_to_the_next_one() {
    let outlasts = |stage| promoting(stage).outlasts_a_stop();
    assert_eq!(STAGES.map(outlasts), [true, false, false]);
    let moves = |stage| promoting(stage).is_moving();
    assert_eq!(STAGES.map(moves), [true, true, false]);
}

#[test]
fn the_journal_form_of_a_managed_promotion_is_pinned() {
    let machine = Machine {
        promotion_awaited_since: Some(NOW),
        ..machine(promoting(Stage::UnderWay))
    };
    assert_eq!(
        serde_json::to_string(&machine).unwrap(),
        concat!(
            r#"{"state":{"phase":"promoting","stage":"under_way"},"#,
            r#""epoch":1,"switches":0,"assertion":null,"alarm_backoff":null,"#,
            r#""readers":"settled","fence_proof":"owed","promotion_awaited_since":1000000,"#,
            r#""left_source":"quiet"}"#
        )
    );
}
