//! Back to where a switch began.

use pointsman_cutover::machine::{Assertion, Event, Side, Step};

use super::{Act, Turn, bake};
use crate::{
    bounds::Promotion,
    message::{Route, Statement},
    process::{Session, Who},
    reach::{Asked, Outcome, Patience},
    server::Power,
};

const LOOK_AT_TARGET: u8 = 0;
const AWAIT_DEADLINE: u8 = 1;
const CUT_OFF: u8 = 2;
const READ_RECORD: u8 = 3;
const OPEN: u8 = 4;
const PUBLISH_SOURCE: u8 = 2;
const OPEN_SOURCE: u8 = 6;
const ANSWERED: u8 = 7;

/// The source becomes the writer again.
pub(super) fn forward(act: &mut Act<'_>, step: Step) -> Option<Turn> {
    if step == Step::Prepare {
        let undone = act.world.route == Route::Source;
        return said(
            act,
            Turn::Ends(if undone { Event::Done } else { Event::Failed }),
        );
    }
    if step < Step::Fence {
        return act.serve(Route::Source, Event::Done);
    }
    match act.at {
        LOOK_AT_TARGET => {
            act.world.begin_to_open(act.who, Side::Source);
            target_is_harmless(act, step)
        }
        AWAIT_DEADLINE => await_deadline(act),
        CUT_OFF => cut_off(act),
        READ_RECORD => {
            let there = act.world.source.record.is_some() || act.facts().closed;
            read_record(act, Side::Source, there)
        }
        OPEN => open(act, Side::Source, step),
        // Readers of the target are served elsewhere until it has replayed the opening.
        _ => act.serve(Route::Source, Event::DoneReadersMoved),
    }
}

fn said(act: &Act<'_>, turn: Turn) -> Option<Turn> {
    (act.outcome == Outcome::Works).then_some(turn)
}

/// Before the intent to promote the journal itself is the proof.
fn target_is_harmless(act: &mut Act<'_>, step: Step) -> Option<Turn> {
    let promote_asked = step >= Step::Promote;
    let managed = act.world.promotion == Promotion::Managed;
    if managed && promote_asked && act.world.target.power == Power::Gone {
        return said(act, Turn::Goes(READ_RECORD));
    }
    match act.look(Side::Target)? {
        Asked::Answered => {}
        Asked::Refused => return Some(Turn::Ends(Event::Failed)),
        Asked::Silent(Patience::Over) => return None,
        Asked::Silent(Patience::Left) if !promote_asked => return Some(Turn::Goes(READ_RECORD)),
        Asked::Silent(Patience::Left) => return takes_the_word_for_the_target(act),
    }
    let facts = act.facts();
    let target = &act.world.target;
    let unprovable = Turn::Ends(Event::Unprovable);
    Some(match (target.is_primary, promote_asked) {
        (false, false) => Turn::Goes(READ_RECORD),
        (true, false) => unprovable,
        (true, true) if facts.closed && target.is_closed_and_unwritten() => Turn::Goes(READ_RECORD),
        (true, true) => unprovable,
        (false, true) if managed || facts.asked => unprovable,
        (false, true) => Turn::Goes(AWAIT_DEADLINE),
    })
}

/// The target does not answer, and an operator may have asserted that it is down for good.
fn takes_the_word_for_the_target(act: &mut Act<'_>) -> Option<Turn> {
    let deadline = act.facts().deadline;
    let process = act.process()?;
    if !process.holds(Assertion::TargetDown) {
        return Some(Turn::Ends(Event::Unprovable));
    }
    if deadline.is_some_and(|left| left > 0) {
        return None;
    }
    // What was asserted to a process that was taken over from holds for it.
    if act.world.said == Some(Assertion::TargetDown) || act.who == Who::Stale {
        act.process()?.by_word = true;
        act.world.word_taken |= act.world.target.power != Power::Gone;
    }
    Some(Turn::Goes(READ_RECORD))
}

/// The target's clock must have passed the deadline of the request that may be under way.
fn await_deadline(act: &mut Act<'_>) -> Option<Turn> {
    let pending = act.facts().deadline.is_some_and(|left| left > 0);
    if act.outcome == Outcome::TimedOut {
        return pending.then_some(Turn::Ends(Event::Unprovable));
    }
    if let Some(failure) = act.look(Side::Target)?.failure() {
        return Some(failure);
    }
    (!pending).then_some(Turn::Goes(CUT_OFF))
}

fn cut_off(act: &mut Act<'_>) -> Option<Turn> {
    if let Some(failure) = act.look(Side::Source)?.failure() {
        return Some(failure);
    }
    act.world.target.is_cut_off = true;
    Some(Turn::Goes(READ_RECORD))
}

/// Attaching ends the former session first; then the record says whether the server was closed.
fn read_record(act: &mut Act<'_>, side: Side, there: bool) -> Option<Turn> {
    let asked = act.look(side)?;
    let next = if there { OPEN } else { OPEN + 1 };
    Some(tried_again(act, asked).unwrap_or(Turn::Goes(next)))
}

fn open(act: &mut Act<'_>, side: Side, step: Step) -> Option<Turn> {
    let asked = act
        .world
        .tell(act.who, side, act.outcome, Statement::Open(side))?;
    let sent = asked == Asked::Answered || act.outcome.leaves_traces();
    if sent && side == Side::Source && step >= Step::Promote {
        act.world.judge_opening_by_undo(act.who);
    }
    Some(tried_again(act, asked).unwrap_or(Turn::Goes(OPEN + 1)))
}

/// A server that does not answer is tried again inside of the step, with new sessions.
fn tried_again(act: &mut Act<'_>, asked: Asked) -> Option<Turn> {
    match asked {
        Asked::Answered => None,
        Asked::Silent(Patience::Left) => {
            if let Some(process) = act.process() {
                process.forget_sessions();
            }
            Some(Turn::Goes(READ_RECORD))
        }
        Asked::Silent(Patience::Over) | Asked::Refused => Some(Turn::Ends(Event::Failed)),
    }
}

/// The target, which served when the rollback began, serves again.
pub(super) fn reverse(act: &mut Act<'_>, step: Step) -> Option<Turn> {
    let asserted = act.process()?.holds(Assertion::TargetDown);
    let has_session = matches!(act.process()?.source, Session::Live(_));
    match act.at {
        0 if asserted => return ask_target(act),
        // Its sessions are new ones before anybody is sent there.
        PUBLISH_SOURCE if !has_session => {
            let asked = act.look(Side::Source)?;
            return Some(asked.failure().unwrap_or(Turn::Goes(PUBLISH_SOURCE)));
        }
        PUBLISH_SOURCE => {
            let asked = act.world.publish(act.who, act.outcome, Route::Source)?;
            return Some(asked.failure().unwrap_or(Turn::Goes(OPEN_SOURCE)));
        }
        OPEN_SOURCE => return open_without_target(act),
        0 | ANSWERED if act.world.route == Route::Source => {
            return said(act, Turn::Ends(Event::Failed));
        }
        _ => {}
    }
    match (act.at, step) {
        (_, Step::Prepare) => said(act, Turn::Ends(Event::Done)),
        (0 | ANSWERED, step) if step >= Step::Promote => {
            // It was about to open. Where it does not answer now, arming closes it again.
            act.world.judge_closing_of_source();
            if act.close(Side::Source)? == Asked::Answered {
                bake::shut_again(act);
            }
            Some(Turn::Goes(1))
        }
        (0 | ANSWERED | 1, step) if step < Step::Fence => act.serve(Route::Target, Event::Done),
        (0 | ANSWERED | 1 | READ_RECORD, _) => {
            let there = act.world.target.record.is_some() || act.facts().target_closed;
            read_record(act, Side::Target, there)
        }
        (OPEN, step) => open(act, Side::Target, step),
        (_, _) => {
            act.learn(|facts| facts.target_closed = false);
            act.serve(Route::Target, Event::Done)
        }
    }
}

/// One that answers is not down, whatever an operator asserted.
fn ask_target(act: &mut Act<'_>) -> Option<Turn> {
    match act.look(Side::Target)? {
        Asked::Answered | Asked::Refused => Some(Turn::Goes(ANSWERED)),
        Asked::Silent(Patience::Over) => None,
        Asked::Silent(Patience::Left) => {
            act.world.word_taken |= act.world.target.power != Power::Gone;
            act.process()?.by_word = true;
            Some(Turn::Goes(PUBLISH_SOURCE))
        }
    }
}

fn open_without_target(act: &mut Act<'_>) -> Option<Turn> {
    let open = Statement::Open(Side::Source);
    let asked = act.world.tell(act.who, Side::Source, act.outcome, open)?;
    if asked == Asked::Answered || act.outcome.leaves_traces() {
        act.world.source.applies = false;
    }
    Some(asked.failure().unwrap_or(Turn::Did(Event::SourceOpened)))
}
