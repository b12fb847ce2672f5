//! What is done outside of a switch: the reverse stream, the ends of a migration, its readers.

use pointsman_cutover::machine::{Assertion, Event, LeftSource, Side};

use super::{Act, Turn};
use crate::{
    message::Route,
    process::{Coverage, Facts},
    reach::{Asked, Outcome},
    server::{Access, Slots},
};

/// Shuts the source for everybody but the apply workers, and sees a row arrive.
pub(super) fn arm(act: &mut Act<'_>) -> Option<Turn> {
    if act.at == 0 {
        act.world.begin_to_look(act.who);
        return before_arming(act);
    }
    if act.facts().stream == Some(Coverage::Incomplete) {
        return said(act, Turn::Ends(Event::ReverseStreamBroke));
    }
    let timed_out = act.outcome == Outcome::TimedOut;
    if act.at > 1 && timed_out {
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
    let lost = act.world.target.slots == Slots::Lost;
    if act.at == 1 {
        if act.world.route != Route::Target {
            return Some(Turn::Ends(Event::MovedByHand));
        }
        if act.facts().admits {
            act.world.shut_source(act.who);
            // What others did before the rollback is for the look that begins the next try.
            return Some(Turn::Did(match shut_again(act) {
                true => Event::ReverseStreamBroke,
                false => Event::Failed,
            }));
        }
        if lost {
            return Some(Turn::Ends(Event::ReverseStreamBroke));
        }
        act.world.shut_source(act.who);
        act.world.source.applies = true;
        return Some(Turn::Goes(2));
    }
    if lost {
        return Some(Turn::Ends(Event::ReverseStreamBroke));
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

/// The look right before the source is opened to the apply workers. One that a rollback let somebody
/// in to is looked at when it is shut again.
fn before_arming(act: &mut Act<'_>) -> Option<Turn> {
    if act.facts().admits {
        return said(act, Turn::Goes(1));
    }
    if let Some(failure) = act.look(Side::Source)?.failure() {
        return Some(failure);
    }
    if opened_by_hand(act) {
        return Some(Turn::Ends(Event::MovedByHand));
    }
    let known = act.left_source() == LeftSource::Disturbed;
    Some(match look(act) {
        Some(changed) if !known => disturbed(changed),
        Some(_) | None => Turn::Goes(1),
    })
}

/// What others did on the source since the last look, which is on record from now on, or what is on
/// record and the machine has not heard of. What was opened is shut again: whether that changed
/// something.
fn look(act: &mut Act<'_>) -> Option<bool> {
    let open = act.world.source.access == Access::Open;
    let unheard = act.facts().strayed && act.left_source() == LeftSource::Quiet;
    let found = open || act.facts().written_behind || unheard;
    act.learn(|facts| {
        facts.written_behind = false;
        facts.strayed |= found;
    });
    if open {
        act.world.shut_source(act.who);
    }
    found.then_some(open)
}

/// A server that somebody serves from is not closed under them.
fn opened_by_hand(act: &Act<'_>) -> bool {
    act.world.source.access == Access::Open && act.world.route != Route::Target
}

fn disturbed(changed: bool) -> Turn {
    if changed {
        Turn::Did(Event::SourceFenceBroken)
    } else {
        Turn::Ends(Event::SourceFenceBroken)
    }
}

/// The look of a command that cannot do without; the source answers. `None`: it goes on.
pub(super) fn left_alone(act: &mut Act<'_>) -> Option<Turn> {
    let accepted = act.loss_is_accepted();
    if act.facts().admits {
        let enough = accepted || act.left_source() == LeftSource::Accepted;
        return (!enough).then_some(Turn::Ends(Event::Failed));
    }
    if opened_by_hand(act) {
        return Some(Turn::Ends(Event::Failed));
    }
    let changed = look(act).filter(|_| !accepted)?;
    Some(disturbed(changed))
}

/// The source is closed again, and its WAL is looked at since it let somebody in. Returns whether
/// somebody wrote there.
pub(super) fn shut_again(act: &mut Act<'_>) -> bool {
    act.end_sessions(Side::Source);
    let Facts {
        admits,
        written_behind,
        ..
    } = act.facts();
    let gap = admits && written_behind;
    act.learn(|facts| {
        facts.admits = false;
        if gap {
            facts.stream = Some(Coverage::Incomplete);
        }
    });
    gap
}

/// The reverse stream is taken down, the source closed for good.
pub(super) fn complete(act: &mut Act<'_>) -> Option<Turn> {
    if !act.facts().closed || act.facts().stream.is_none() {
        return Some(Turn::Ends(Event::Failed));
    }
    if act.at == 0 {
        act.world.begin_to_look(act.who);
        return Some(match act.look(Side::Source)? {
            Asked::Answered => left_alone(act).unwrap_or(Turn::Goes(1)),
            Asked::Silent(_) if act.process()?.holds(Assertion::SourceDown) => Turn::Goes(1),
            Asked::Silent(patience) => Turn::Ends(patience.event()),
            Asked::Refused => Turn::Ends(Event::Failed),
        });
    }
    if act.at == 1 {
        let asked = act.look(Side::Target)?;
        return Some(asked.failure().unwrap_or(Turn::Goes(2)));
    }
    if act.at == 2 {
        match act.look(Side::Source)? {
            Asked::Answered => {
                act.world.shut_source(act.who);
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
        return Some(Turn::Goes(3));
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
