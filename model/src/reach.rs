//! How a process reaches a server: what arrives, what is lost, who is refused.

use pointsman_cutover::machine::{Event, Side, supersedes};

use crate::{
    message::{Route, Statement},
    process::{Process, Session, Who, short},
    server::Power,
    violation::Violation,
    world::World,
};

/// What becomes of the next thing that a process does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    Works,
    /// The server does not answer, or the request is lost.
    Lost(Patience),
    /// It takes effect, and the answer is lost.
    AnswerLost(Patience),
    /// It takes effect at any later time, and no answer comes.
    Late(Patience),
    /// The server answers with an error.
    Refused,
    /// The time for what it waits for is over, or it gives up.
    TimedOut,
}

/// Whether a command that got no answer has time for another try.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Patience {
    Left,
    Over,
}

/// What a process hears.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Asked {
    Answered,
    Silent(Patience),
    Refused,
}

/// Whether there is a session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Reach {
    Ready,
    Silent,
    /// A newer leader drives the server.
    Superseded,
}

impl Outcome {
    /// Every one.
    pub const ALL: [Self; 9] = [
        Self::Works,
        Self::Lost(Patience::Left),
        Self::Lost(Patience::Over),
        Self::AnswerLost(Patience::Left),
        Self::AnswerLost(Patience::Over),
        Self::Late(Patience::Left),
        Self::Late(Patience::Over),
        Self::Refused,
        Self::TimedOut,
    ];

    /// Whether something is changed of which the process hears nothing.
    pub(crate) fn leaves_traces(self) -> bool {
        matches!(self, Self::AnswerLost(_) | Self::Late(_))
    }
}

impl Patience {
    /// What the machine hears of no answer.
    pub(crate) fn event(self) -> Event {
        match self {
            Self::Left => Event::Unanswered,
            Self::Over => Event::Failed,
        }
    }
}

impl World {
    /// Asks a server for what changes nothing.
    pub(crate) fn look(&mut self, who: Who, side: Side, outcome: Outcome) -> Option<Asked> {
        self.look_at(who, &[side], outcome)
    }

    /// Asks both.
    pub(crate) fn look_at_both(&mut self, who: Who, outcome: Outcome) -> Option<Asked> {
        self.look_at(who, &[Side::Source, Side::Target], outcome)
    }

    fn look_at(&mut self, who: Who, sides: &[Side], outcome: Outcome) -> Option<Asked> {
        let mut reach = Reach::Ready;
        for &side in sides {
            match self.attach(who, side) {
                Reach::Ready => {}
                Reach::Superseded => reach = Reach::Superseded,
                Reach::Silent => {
                    reach = Reach::Silent;
                    break;
                }
            }
        }
        self.hear(reach, outcome)
    }

    fn hear(&mut self, reach: Reach, outcome: Outcome) -> Option<Asked> {
        match (outcome, reach) {
            (Outcome::Works, Reach::Ready) => Some(Asked::Answered),
            (Outcome::Works, Reach::Superseded) => Some(Asked::Refused),
            (Outcome::Lost(patience), Reach::Silent) => Some(Asked::Silent(patience)),
            (Outcome::Lost(patience), Reach::Ready) => {
                self.left.spend(|left| &mut left.losses)?;
                Some(Asked::Silent(patience))
            }
            (Outcome::Refused, Reach::Ready) => {
                self.left.spend(|left| &mut left.losses)?;
                Some(Asked::Refused)
            }
            _ => None,
        }
    }

    /// Tells a server to change something.
    pub(crate) fn tell(
        &mut self,
        who: Who,
        side: Side,
        outcome: Outcome,
        statement: Statement,
    ) -> Option<Asked> {
        let reach = self.attach(who, side);
        let epoch = self.session_epoch(who, side);
        if reach == Reach::Ready {
            self.judge_obedience(side, epoch);
            if matches!(statement, Statement::Open(_)) {
                self.judge_change(who);
            }
        }
        match (outcome, reach) {
            (Outcome::Works, Reach::Ready) => Some(if self.execute(statement, epoch) {
                Asked::Answered
            } else {
                Asked::Refused
            }),
            (Outcome::AnswerLost(patience), Reach::Ready) => {
                self.left.spend(|left| &mut left.losses)?;
                self.execute(statement, epoch);
                Some(Asked::Silent(patience))
            }
            (Outcome::Late(patience), Reach::Ready) => {
                self.left.spend(|left| &mut left.losses)?;
                self.send(statement, epoch)?;
                Some(Asked::Silent(patience))
            }
            _ => self.hear(reach, outcome),
        }
    }

    /// Publishes a route. The store takes no write of a process that another has taken over from.
    pub(crate) fn publish(&mut self, who: Who, outcome: Outcome, route: Route) -> Option<Asked> {
        if who == Who::Stale {
            let Outcome::Lost(patience) = outcome else {
                return None;
            };
            return Some(Asked::Silent(patience));
        }
        match outcome {
            Outcome::Works => {
                self.route = route;
                Some(Asked::Answered)
            }
            Outcome::AnswerLost(patience) => {
                self.left.spend(|left| &mut left.losses)?;
                self.route = route;
                Some(Asked::Silent(patience))
            }
            Outcome::Lost(_) | Outcome::Late(_) | Outcome::Refused | Outcome::TimedOut => {
                self.hear(Reach::Ready, outcome)
            }
        }
    }

    /// Takes the session that there is, or opens one: that ends what older leaders, and former
    /// sessions of this one, have under way on that server.
    fn attach(&mut self, who: Who, side: Side) -> Reach {
        let Some(process) = self.process(who) else {
            return Reach::Silent;
        };
        if self.power(side) != Power::Up {
            return Reach::Silent;
        }
        match process.session(side) {
            Session::Dead => Reach::Silent,
            Session::Live(_) => Reach::Ready,
            Session::None => {
                let epoch = short(process.record.machine.epoch());
                if self.is_driven_by_newer(who, side, epoch) {
                    return Reach::Superseded;
                }
                self.end_former_sessions(who, side);
                if let Some(process) = self.process_mut(who) {
                    *process.session_mut(side) = Session::Live(epoch);
                }
                Reach::Ready
            }
        }
    }

    fn is_driven_by_newer(&self, who: Who, side: Side, epoch: u8) -> bool {
        let own = u64::from(epoch);
        let newer = |found: u8| supersedes(u64::from(found), own);
        let other = match who {
            Who::Leader => self.stale,
            Who::Stale => self.leader,
        };
        let session = other.map(|other| other.session(side));
        let sent = self.messages.iter().flatten();
        let mut sent = sent.filter(|message| message.statement.side() == Some(side));
        self.record_of(side).is_some_and(newer)
            || matches!(session, Some(Session::Live(found)) if newer(found))
            || sent.any(|message| newer(message.epoch))
    }

    fn record_of(&self, side: Side) -> Option<u8> {
        match side {
            Side::Source => self.source.record,
            Side::Target => self.target.record,
        }
    }

    /// Whoever closed the server last was the newest leader there.
    fn judge_obedience(&mut self, side: Side, epoch: u8) {
        if self.record_of(side).is_some_and(|found| found > epoch) {
            self.violations.add(Violation::OlderObeyed);
        }
    }

    fn end_former_sessions(&mut self, who: Who, side: Side) {
        let other = match who {
            Who::Leader => &mut self.stale,
            Who::Stale => &mut self.leader,
        };
        if let Some(other) = other {
            end_session(other, side);
        }
        self.drop_messages_to(side);
    }

    pub(crate) fn drop_messages_to(&mut self, side: Side) {
        for slot in &mut self.messages {
            if slot.is_some_and(|message| message.statement.side() == Some(side)) {
                *slot = None;
            }
        }
    }

    fn session_epoch(&self, who: Who, side: Side) -> u8 {
        match self.process(who).map(|process| process.session(side)) {
            Some(Session::Live(epoch)) => epoch,
            Some(Session::None | Session::Dead) | None => 0,
        }
    }
}

/// Ends a session on its server.
pub(crate) fn end_session(process: &mut Process, side: Side) {
    let session = process.session_mut(side);
    if matches!(session, Session::Live(_)) {
        *session = Session::Dead;
    }
}
