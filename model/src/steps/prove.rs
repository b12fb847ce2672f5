//! The proofs of the source's fence.

use pointsman_cutover::machine::{Event, Side};

use super::{Act, Turn, forward};
use crate::{
    bounds::Promotion,
    process::Facts,
    reach::{Asked, Outcome},
    server::{Access, Meddling},
};

impl Act<'_> {
    /// Whether the source is closed and empty, and nobody wrote behind the token's marker.
    fn source_is_fenced(&self) -> bool {
        self.world.source.access == Access::Empty && !self.facts().written_behind
    }
}

/// The last step before the intent to promote.
pub(super) fn forward(act: &mut Act<'_>) -> Option<Turn> {
    if !act.facts().closed {
        return Some(Turn::Ends(Event::Failed));
    }
    match act.at {
        0 => prove(act),
        1 => forward::replayed(act, Turn::Goes(0)),
        _ => ready(act, Event::DoneManaged),
    }
}

fn prove(act: &mut Act<'_>) -> Option<Turn> {
    if act.outcome == Outcome::TimedOut {
        // A writer that comes back again and again.
        return if act.source_is_fenced() {
            None
        } else {
            act.waits()
        };
    }
    if let Some(failure) = act.look_at_both()?.failure() {
        return Some(failure);
    }
    act.end_sessions(Side::Target);
    if act.source_is_fenced() {
        let guarded = act.world.promotion == Promotion::Guarded;
        act.learn(|facts| {
            facts.proved = true;
            facts.deadline = guarded.then_some(1);
        });
        act.world.source.meddling = Meddling::Never;
        return Some(if guarded {
            Turn::Ends(Event::Done)
        } else {
            Turn::Goes(2)
        });
    }
    act.end_sessions(Side::Source);
    act.learn(Facts::take_a_new_marker);
    if act.world.source.access == Access::Empty {
        act.world.source.meddling = Meddling::Never;
    }
    Some(Turn::Goes(1))
}

/// What must hold before an API is asked: the target is a standby that has replayed the marker, is
/// closed by that, and is empty.
pub(super) fn ready(act: &mut Act<'_>, done: Event) -> Option<Turn> {
    let ended = forward::replayed(act, Turn::Ends(done))?;
    if ended != Turn::Ends(done) {
        return Some(ended);
    }
    if act.world.target.access != Access::Empty {
        return Some(Turn::Ends(Event::Failed));
    }
    act.learn(|facts| facts.asked = true);
    Some(ended)
}

/// The proof of a leader that promotes, asks an API again, or opens the target.
pub(super) fn fence_that_holds(act: &mut Act<'_>, then: Turn) -> Option<Turn> {
    if !act.facts().closed {
        return Some(Turn::Ends(Event::Failed));
    }
    match act.look(Side::Source)? {
        Asked::Answered => {}
        Asked::Silent(patience) => {
            return Some(if forward::takes_the_word_for_the_source(act) {
                then
            } else {
                Turn::Ends(patience.event())
            });
        }
        Asked::Refused => return Some(Turn::Ends(Event::Failed)),
    }
    if !act.source_is_fenced() {
        return Some(Turn::Ends(Event::Unprovable));
    }
    act.world.source.meddling = Meddling::Never;
    Some(then)
}
