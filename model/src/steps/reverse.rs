//! The steps of a rollback: the same switch, back to the source.

use pointsman_cutover::machine::{Assertion, Event, Side};

use super::{Act, Turn, bake};
use crate::{
    message::{Route, Statement},
    process::Coverage,
    reach::{Asked, Outcome},
    server::{Access, Meddling, Power, Slots},
};

impl Act<'_> {
    fn is_complete(&self) -> bool {
        self.facts().stream == Some(Coverage::Complete)
    }

    fn leaves_out(&self) -> bool {
        self.world.target.slots == Slots::Gap
    }

    /// Whether the count of what the source lacks is above zero. Without every slot it counts
    /// from before the first of them.
    fn would_lose(&self) -> bool {
        let target = &self.world.target;
        if self.is_complete() && target.slots.are_there() {
            target.undelivered
        } else {
            target.written
        }
    }

    fn has_delivered(&self) -> bool {
        let target = &self.world.target;
        self.is_complete() && target.slots.are_there() && !target.undelivered
    }
}

pub(super) fn prepare(act: &mut Act<'_>) -> Option<Turn> {
    act.world.begin_to_look(act.who);
    if let Some(failure) = act.look_at_both()?.failure() {
        return Some(failure);
    }
    if let Some(found) = bake::left_alone(act) {
        return Some(found);
    }
    let known = act.world.target.is_primary && act.facts().stream.is_some();
    let delivers = act.is_complete() && act.world.streams();
    let loses = act.leaves_out() || (!delivers && act.would_lose());
    let fit = known && (act.loss_is_accepted() || !loses);
    Some(Turn::Ends(if fit { Event::Done } else { Event::Failed }))
}

pub(super) fn fence(act: &mut Act<'_>) -> Option<Turn> {
    if act.facts().stream.is_none() {
        return Some(Turn::Ends(Event::Failed));
    }
    if act.at == 0 {
        let asked = act.close(Side::Target)?;
        return Some(asked.failure().unwrap_or(Turn::Goes(1)));
    }
    if let Some(failure) = act.look(Side::Target)?.failure() {
        return Some(failure);
    }
    act.end_sessions(Side::Target);
    if act.world.target.access != Access::Empty {
        return Some(Turn::Did(Event::Failed));
    }
    act.world.target.meddling = Meddling::Never;
    act.learn(|facts| {
        facts.target_closed = true;
        facts.target_written_behind = false;
    });
    Some(Turn::Ends(Event::Done))
}

pub(super) fn catch_up(act: &mut Act<'_>) -> Option<Turn> {
    if !act.facts().target_closed {
        return Some(Turn::Ends(Event::Failed));
    }
    let may_still_come = act.is_complete() && act.world.target.slots.are_there();
    let timed_out = act.outcome == Outcome::TimedOut;
    if !timed_out && let Some(failure) = act.look(Side::Target)?.failure() {
        return Some(failure);
    }
    let accepted = act.loss_is_accepted();
    if act.leaves_out() && !accepted {
        return (!timed_out).then_some(Turn::Ends(Event::Failed));
    }
    if act.has_delivered() {
        return (!timed_out).then_some(Turn::Ends(Event::Done));
    }
    // It waits while a delivery can still come; then it counts.
    if may_still_come != timed_out {
        return None;
    }
    let fit = accepted || !act.would_lose();
    Some(Turn::Ends(if fit { Event::Done } else { Event::Failed }))
}

pub(super) fn prove(act: &mut Act<'_>) -> Option<Turn> {
    if !act.facts().target_closed {
        return Some(Turn::Ends(Event::Failed));
    }
    let timed_out = act.outcome == Outcome::TimedOut;
    if act.at > 0 {
        // What a writer left is carried like all that came before.
        let delivered = act.has_delivered();
        if timed_out {
            return if delivered { None } else { act.waits() };
        }
        if let Some(failure) = act.look(Side::Target)?.failure() {
            return Some(failure);
        }
        return delivered.then_some(Turn::Goes(0));
    }
    let fenced = act.world.target.access == Access::Empty && !act.facts().target_written_behind;
    if timed_out {
        return if fenced { None } else { act.waits() };
    }
    if let Some(failure) = act.look(Side::Target)?.failure() {
        return Some(failure);
    }
    if fenced {
        act.world.target.meddling = Meddling::Never;
        return Some(Turn::Ends(Event::Done));
    }
    act.end_sessions(Side::Target);
    act.learn(|facts| facts.target_written_behind = false);
    if act.world.target.access == Access::Empty {
        act.world.target.meddling = Meddling::Never;
    }
    Some(Turn::Goes(1))
}

/// Sequences are carried over, and the stream stops.
pub(super) fn promote(act: &mut Act<'_>) -> Option<Turn> {
    if let Some(failure) = act.look_at_both()?.failure() {
        return Some(failure);
    }
    act.world.source.applies = false;
    act.learn(|facts| facts.admits = true);
    Some(Turn::Did(Event::Done))
}

/// The source gets its rules and logins back, and stays limited to nobody.
pub(super) fn prime(act: &mut Act<'_>) -> Option<Turn> {
    if !act.facts().closed || act.facts().stream.is_none() {
        return Some(Turn::Ends(Event::Failed));
    }
    let asked = act.look(Side::Source)?;
    Some(asked.failure().unwrap_or(Turn::Ends(Event::Done)))
}

/// The source opens behind a look at the target.
pub(super) fn flip(act: &mut Act<'_>) -> Option<Turn> {
    if !act.facts().closed {
        return Some(Turn::Ends(Event::Failed));
    }
    match act.at {
        0 => {
            act.world.begin_to_open(act.who, Side::Source);
            target_is_left(act)
        }
        1 => open_source(act),
        _ => act.serve(Route::Source, Event::Done),
    }
}

/// An operator who asserts that the target is down gives up what was written on it; one that answers
/// and is open is not down.
fn target_is_left(act: &mut Act<'_>) -> Option<Turn> {
    if !act.facts().target_closed || act.facts().stream.is_none() {
        return Some(Turn::Ends(Event::Failed));
    }
    let asserted = act.process()?.holds(Assertion::TargetDown);
    let written = match act.look(Side::Target)? {
        Asked::Answered if act.world.target.access != Access::Empty => {
            return Some(Turn::Ends(Event::Unprovable));
        }
        Asked::Answered => act.facts().target_written_behind,
        Asked::Silent(_) if asserted => true,
        Asked::Silent(patience) => return Some(Turn::Ends(patience.event())),
        Asked::Refused => return Some(Turn::Ends(Event::Failed)),
    };
    if !written {
        act.world.target.meddling = Meddling::Never;
        return Some(Turn::Goes(1));
    }
    if !asserted {
        return Some(Turn::Ends(Event::Unprovable));
    }
    if act.world.said == Some(Assertion::TargetDown) {
        act.process()?.by_word = true;
        act.world.word_taken |= act.world.target.power != Power::Gone;
    }
    Some(Turn::Goes(1))
}

fn open_source(act: &mut Act<'_>) -> Option<Turn> {
    let open = Statement::Open(Side::Source);
    let asked = act.world.tell(act.who, Side::Source, act.outcome, open)?;
    if asked == Asked::Answered || act.outcome.leaves_traces() {
        act.world.judge_opening_by_rollback(act.who);
    }
    Some(asked.failure().unwrap_or(Turn::Goes(2)))
}
