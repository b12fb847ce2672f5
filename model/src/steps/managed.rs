//! A promotion by an API.

use pointsman_cutover::machine::{Event, PromotionStage, Side, State};

use super::{Act, Turn, forward, prove};
use crate::{
    message::{Api, Route, Statement},
    process::Session,
    reach::{Asked, Outcome},
    server::{Access, Power},
};

/// Sends the request once.
pub(super) fn request(act: &mut Act<'_>) -> Option<Turn> {
    let epoch = forward::epoch(act);
    let ended = match act.outcome {
        Outcome::Works => {
            act.world.execute(Statement::AskApi, epoch);
            act.world.judge_promotion(act.who);
            return Some(Turn::Did(Event::Done));
        }
        Outcome::Lost(patience) => Turn::Ends(patience.event()),
        Outcome::AnswerLost(patience) => {
            act.world.execute(Statement::AskApi, epoch);
            Turn::Ends(patience.event())
        }
        Outcome::Late(patience) => {
            act.world.send(Statement::AskApi, epoch)?;
            Turn::Ends(patience.event())
        }
        Outcome::Refused => Turn::Ends(Event::Failed),
        Outcome::TimedOut => return None,
    };
    act.world.left.spend(|left| &mut left.losses)?;
    if act.outcome.leaves_traces() {
        act.world.judge_promotion(act.who);
    }
    Some(ended)
}

/// Looks once: at the source's fence, at what the API says, at the target.
pub(super) fn observe(act: &mut Act<'_>) -> Option<Turn> {
    match act.at {
        0 => watch_source(act),
        1 => progress(act),
        2 => forward::behind_a_proved_fence(act, 3, ready_again),
        3 => ready_again(act),
        _ => look_at_target(act),
    }
}

/// The request may be sent after all.
fn ready_again(act: &mut Act<'_>) -> Option<Turn> {
    prove::ready(act, Event::NotReceived)
}

/// What lifted the fence is shut again at once, and an operator is asked.
fn watch_source(act: &mut Act<'_>) -> Option<Turn> {
    match act.look(Side::Source)? {
        Asked::Answered => {}
        Asked::Silent(_) => {
            if let Some(process) = act.process() {
                *process.session_mut(Side::Source) = Session::None;
            }
            return Some(Turn::Goes(1));
        }
        Asked::Refused => return Some(Turn::Ends(Event::Failed)),
    }
    let epoch = forward::epoch(act);
    match act.world.source.access {
        // A server that writers are sent to is not closed under them.
        Access::Open if act.world.route == Route::Source => Some(Turn::Ends(Event::Unprovable)),
        Access::Open => {
            act.world.judge_change(act.who);
            if !act.world.execute(Statement::Close(Side::Source), epoch) {
                return Some(Turn::Ends(Event::Unprovable));
            }
            act.end_sessions(Side::Source);
            Some(Turn::Did(Event::Unprovable))
        }
        Access::Sessions => {
            act.end_sessions(Side::Source);
            let wrote = act.facts().written_behind;
            Some(if wrote {
                Turn::Did(Event::Unprovable)
            } else {
                Turn::Goes(1)
            })
        }
        Access::Empty => Some(Turn::Goes(1)),
    }
}

fn progress(act: &mut Act<'_>) -> Option<Turn> {
    if act.world.target.power == Power::Gone {
        return said(act, Turn::Ends(Event::TargetGone));
    }
    if act.world.target.is_primary {
        return said(act, Turn::Goes(4));
    }
    match act.world.api {
        // The API says that it never received a request only when none can be on its way.
        Api::Idle if act.world.api_is_being_asked() => waiting(act),
        Api::Idle if is_stalled(act) => waiting(act),
        Api::Idle => overdue(act).or_else(|| said(act, Turn::Goes(2))),
        Api::UnderWay => waiting(act),
        Api::Failed => said(act, Turn::Ends(Event::Failed)),
    }
}

fn said(act: &Act<'_>, turn: Turn) -> Option<Turn> {
    (act.outcome == Outcome::Works).then_some(turn)
}

fn waiting(act: &Act<'_>) -> Option<Turn> {
    overdue(act).or_else(|| said(act, Turn::Ends(Event::NotYet)))
}

/// It has not come through in its time.
fn overdue(act: &Act<'_>) -> Option<Turn> {
    act.waits()
}

fn is_stalled(act: &Act<'_>) -> bool {
    let stage = PromotionStage::Stalled;
    let process = act.world.process(act.who);
    process.is_some_and(|process| process.record.machine.state() == State::Promoting { stage })
}

/// It must show itself as the primary that the token allowed, closed and empty.
fn look_at_target(act: &mut Act<'_>) -> Option<Turn> {
    if let Some(failure) = act.look(Side::Target)?.failure() {
        return Some(failure);
    }
    if !act.world.target.is_primary {
        return Some(Turn::Ends(Event::NotYet));
    }
    act.end_sessions(Side::Target);
    if act.world.target.access != Access::Empty {
        return Some(Turn::Ends(Event::Unprovable));
    }
    Some(forward::promoted(act))
}
