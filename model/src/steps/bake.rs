//! What is done outside of a switch: the reverse stream, the ends of a migration, its readers.

use pointsman_cutover::{
    machine::{Assertion, Event, Side},
    migration::Coverage,
};

use super::{Act, Turn, forward};
use crate::{
    message::Statement,
    reach::{Asked, Outcome},
    server::{Access, Slots},
};

/// Shuts the source for everybody but the apply workers, and sees a row arrive.
pub(super) fn arm(act: &mut Act<'_>) -> Option<Turn> {
    if act.facts().stream == Some(Coverage::Incomplete) {
        return said(act, Turn::Ends(Event::ReverseStreamBroke));
    }
    let timed_out = act.outcome == Outcome::TimedOut;
    if act.at > 0 && timed_out {
        return if act.world.streams() {
            None
        } else {
            act.waits()
        };
    }
    if let Some(failure) = act.look_at_both()?.failure() {
        return Some(failure);
    }
    if act.facts().stream.is_none() {
        return Some(Turn::Ends(Event::Failed));
    }
    if act.world.target.slots == Slots::Lost {
        return Some(Turn::Ends(Event::ReverseStreamBroke));
    }
    if act.at == 0 {
        shut_source(act);
        act.world.source.applies = true;
        return Some(Turn::Goes(1));
    }
    if !act.world.streams() {
        return None;
    }
    Some(Turn::Ends(if act.world.target.slots == Slots::Gap {
        Event::ReverseStreamBroke
    } else {
        Event::Done
    }))
}

fn said(act: &Act<'_>, turn: Turn) -> Option<Turn> {
    (act.outcome == Outcome::Works).then_some(turn)
}

fn shut_source(act: &mut Act<'_>) {
    let epoch = forward::epoch(act);
    act.world.execute(Statement::Close(Side::Source), epoch);
    act.end_sessions(Side::Source);
}

/// The reverse stream is taken down, the source closed for good.
pub(super) fn complete(act: &mut Act<'_>) -> Option<Turn> {
    if !act.facts().closed || act.facts().stream.is_none() {
        return Some(Turn::Ends(Event::Failed));
    }
    if act.at == 0 {
        let asked = act.look(Side::Target)?;
        return Some(asked.failure().unwrap_or(Turn::Goes(1)));
    }
    if act.at == 1 {
        match act.look(Side::Source)? {
            Asked::Answered => {
                shut_source(act);
                act.world.source.applies = false;
            }
            Asked::Silent(patience) => {
                let process = act.process()?;
                if !process.holds(Assertion::SourceDown) {
                    return Some(Turn::Ends(patience.event()));
                }
            }
            Asked::Refused => return Some(Turn::Ends(Event::Failed)),
        }
        act.learn(|facts| facts.stream = Some(Coverage::Incomplete));
        return Some(Turn::Goes(2));
    }
    if let Some(failure) = act.look(Side::Target)?.failure() {
        return Some(failure);
    }
    act.world.target.slots = Slots::Lost;
    Some(Turn::Did(Event::Done))
}

/// The start, after a cancellation that failed.
pub(super) fn set_up(act: &mut Act<'_>) -> Option<Turn> {
    let asked = act.look_at_both()?;
    Some(asked.failure().unwrap_or(Turn::Ends(Event::Done)))
}

/// What the start made is taken back; a source that does not answer keeps it.
pub(super) fn cancel(act: &mut Act<'_>) -> Option<Turn> {
    Some(match act.look(Side::Source)? {
        Asked::Answered | Asked::Silent(_) => Turn::Ends(Event::Done),
        Asked::Refused => Turn::Ends(Event::Failed),
    })
}

/// Readers return to the target once it has replayed its opening.
pub(super) fn restore_readers(act: &mut Act<'_>) -> Option<Turn> {
    if let Some(failure) = act.look(Side::Target)?.failure() {
        return Some(failure);
    }
    let lets_in = !act.world.target.is_primary && act.world.target.access == Access::Open;
    Some(Turn::Ends(if lets_in {
        Event::Done
    } else {
        Event::NotYet
    }))
}
