//! The steps of a switch to the target.

use pointsman_cutover::machine::{Assertion, Direction, Event, FenceProof, Side};

use super::{Act, Turn, prove};
use crate::{
    bounds::Promotion,
    message::{Route, Statement},
    process::{Coverage, Facts, Who, short},
    reach::{Asked, Outcome},
    server::{Access, Meddling, Power, Slots},
    violation::Violation,
};

impl Act<'_> {
    pub(super) fn hold(&mut self, direction: Direction) -> Option<Turn> {
        let refused = self.outcome == Outcome::Refused;
        let asked = self.world.publish(self.who, self.outcome, Route::Hold)?;
        if asked == Asked::Answered || self.outcome.leaves_traces() || refused {
            if self.world.held {
                self.world.violations.add(Violation::HeldTwice);
            }
            self.world.held = true;
            if direction == Direction::Reverse {
                self.world.judge_hold_of_rollback();
            }
        }
        if refused {
            // Forward every registered sidecar must have taken it.
            self.world.route = Route::Hold;
            return Some(Turn::Did(match direction {
                Direction::Forward => Event::Failed,
                Direction::Reverse => Event::Done,
            }));
        }
        Some(asked.failure().unwrap_or(Turn::Did(Event::Done)))
    }

    pub(super) fn serve(&mut self, route: Route, done: Event) -> Option<Turn> {
        let asked = self.world.publish(self.who, self.outcome, route)?;
        Some(asked.failure().unwrap_or(Turn::Did(done)))
    }

    pub(super) fn close(&mut self, side: Side) -> Option<Asked> {
        self.world
            .tell(self.who, side, self.outcome, Statement::Close(side))
    }
}

pub(super) fn prepare(act: &mut Act<'_>) -> Option<Turn> {
    if let Some(failure) = act.look_at_both()?.failure() {
        return Some(failure);
    }
    let target = &act.world.target;
    let fit = !target.is_primary && !target.is_cut_off && act.world.source.access == Access::Open;
    Some(Turn::Ends(if fit { Event::Done } else { Event::Failed }))
}

/// Closes the source; then ends the sessions on both and takes the marker.
pub(super) fn fence(act: &mut Act<'_>) -> Option<Turn> {
    if act.at == 0 {
        let asked = act.close(Side::Source)?;
        return Some(asked.failure().unwrap_or(Turn::Goes(1)));
    }
    if let Some(failure) = act.look_at_both()?.failure() {
        return Some(failure);
    }
    act.end_sessions(Side::Source);
    act.end_sessions(Side::Target);
    if act.world.source.access != Access::Empty {
        return Some(Turn::Did(Event::Failed));
    }
    act.world.source.meddling = Meddling::Never;
    act.learn(Facts::learn_closed);
    Some(Turn::Ends(Event::Done))
}

pub(super) fn catch_up(act: &mut Act<'_>) -> Option<Turn> {
    if !act.facts().closed {
        return Some(Turn::Ends(Event::Failed));
    }
    replayed(act, Turn::Ends(Event::Done))
}

/// Waits until the target has replayed the marker, and reads its role in the same statement.
pub(super) fn replayed(act: &mut Act<'_>, then: Turn) -> Option<Turn> {
    if act.outcome == Outcome::TimedOut {
        return if act.facts().replayed {
            None
        } else {
            act.waits()
        };
    }
    if let Some(failure) = act.look(Side::Target)?.failure() {
        return Some(failure);
    }
    if act.world.target.is_primary {
        return Some(Turn::Ends(Event::Unprovable));
    }
    if !act.facts().replayed {
        return None;
    }
    act.end_sessions(Side::Target);
    Some(then)
}

/// The guarded promotion. An API's is only looked at from here on.
pub(super) fn promote(act: &mut Act<'_>) -> Option<Turn> {
    if act.world.promotion == Promotion::Managed {
        return Some(Turn::Ends(Event::DoneManaged));
    }
    match act.at {
        0 => behind_a_proved_fence(act, 1, ask_to_promote),
        1 => ask_to_promote(act),
        _ => await_primary(act),
    }
}

/// What a leader does that has proved the fence; one that has not proves it first.
pub(super) fn behind_a_proved_fence(
    act: &mut Act<'_>,
    at: u8,
    next: fn(&mut Act<'_>) -> Option<Turn>,
) -> Option<Turn> {
    let proof = act.process()?.record.machine.fence_proof();
    match proof {
        FenceProof::Given => {
            act.goes_on(at);
            next(act)
        }
        FenceProof::Owed => prove::fence_that_holds(act, Turn::Goes(at)),
    }
}

fn ask_to_promote(act: &mut Act<'_>) -> Option<Turn> {
    let facts = act.facts();
    if !facts.closed {
        return Some(Turn::Ends(Event::Failed));
    }
    let deadline = facts.deadline.unwrap_or_default();
    if deadline == 0 {
        return another_deadline(act);
    }
    let request = Statement::Promote {
        replayed: facts.replayed,
        deadline,
    };
    let asked = act
        .world
        .tell(act.who, Side::Target, act.outcome, request)?;
    if asked == Asked::Answered || act.outcome.leaves_traces() {
        act.world.judge_promotion(act.who);
    }
    Some(match asked {
        Asked::Answered => Turn::Goes(2),
        Asked::Silent(patience) => Turn::Ends(patience.event()),
        // The guard of the statement, or an error.
        Asked::Refused if act.outcome == Outcome::Works => Turn::Ends(Event::Unprovable),
        Asked::Refused => Turn::Ends(Event::Failed),
    })
}

/// It is put on record, and used by the next try. The journal takes nothing of a process that was taken
/// over from, which ends with that.
fn another_deadline(act: &mut Act<'_>) -> Option<Turn> {
    if act.outcome != Outcome::Works {
        return None;
    }
    if act.who == Who::Stale {
        act.world.stale = None;
        return Some(Turn::Goes(0));
    }
    act.learn(|facts| facts.deadline = Some(1));
    act.world.journal = act.process()?.record;
    Some(Turn::Ends(Event::Unanswered))
}

fn await_primary(act: &mut Act<'_>) -> Option<Turn> {
    if act.outcome == Outcome::TimedOut {
        return if act.world.target.is_primary {
            None
        } else {
            act.waits()
        };
    }
    if let Some(failure) = act.look(Side::Target)?.failure() {
        return Some(failure);
    }
    if !act.world.target.is_primary {
        return None;
    }
    Some(promoted(act))
}

/// The promotion is the one that the token allowed.
pub(super) fn promoted(act: &mut Act<'_>) -> Turn {
    if !act.facts().replayed {
        return Turn::Ends(Event::Unprovable);
    }
    if !act.facts().proved {
        return Turn::Ends(Event::Failed);
    }
    act.learn(|facts| {
        facts.promoted = true;
        facts.stream = None;
    });
    Turn::Ends(Event::Done)
}

/// Slots first, then the proof that nobody wrote before them.
pub(super) fn prime(act: &mut Act<'_>) -> Option<Turn> {
    match act.look(Side::Target)? {
        Asked::Answered => {}
        Asked::Silent(patience) => return Some(Turn::Ends(patience.event())),
        Asked::Refused => return Some(judge(act)),
    }
    if !act.facts().promoted {
        return Some(judge(act));
    }
    act.end_sessions(Side::Target);
    if act.at == 0 {
        if act.world.target.slots == Slots::None {
            act.world.target.slots = Slots::Whole;
        }
        return Some(Turn::Goes(1));
    }
    let coverage = if act.world.target.written {
        Coverage::Incomplete
    } else {
        Coverage::Complete
    };
    act.learn(|facts| facts.stream = Some(coverage));
    Some(Turn::Ends(Event::Done))
}

/// Whether a failure behind the promotion can be taken back.
fn judge(act: &Act<'_>) -> Turn {
    let facts = act.facts();
    let known = facts.closed && facts.promoted;
    Turn::Ends(if known && act.world.target.is_closed_and_unwritten() {
        Event::FailedTargetUnwritten
    } else {
        Event::Unprovable
    })
}

/// Opens the target and sends the sidecars there.
pub(super) fn flip(act: &mut Act<'_>) -> Option<Turn> {
    if act.at == 0 {
        act.world.begin_to_open(act.who, Side::Target);
    }
    if !act.facts().closed {
        return Some(Turn::Ends(Event::Failed));
    }
    match act.at {
        0 => behind_a_proved_fence(act, 1, open_target),
        1 => open_target(act),
        _ => act.serve(Route::Target, Event::Done),
    }
}

fn open_target(act: &mut Act<'_>) -> Option<Turn> {
    let open = Statement::Open(Side::Target);
    let asked = act.world.tell(act.who, Side::Target, act.outcome, open)?;
    if asked == Asked::Answered || act.outcome.leaves_traces() {
        act.world.judge_opening_of_target(act.who);
    }
    Some(asked.failure().unwrap_or(Turn::Goes(2)))
}

/// Whether an operator's word stands for the source, which does not answer.
pub(super) fn takes_the_word_for_the_source(act: &mut Act<'_>) -> bool {
    let Some(process) = act.process() else {
        return false;
    };
    if !process.holds(Assertion::SourceDown) {
        return false;
    }
    if act.world.said == Some(Assertion::SourceDown) {
        if let Some(process) = act.process() {
            process.by_word = true;
        }
        act.world.word_taken |= act.world.source.power != Power::Gone;
    }
    true
}

/// The epoch of the process that acts.
pub(super) fn epoch(act: &mut Act<'_>) -> u8 {
    act.process()
        .map_or(0, |process| short(process.record.machine.epoch()))
}
