//! Everything that decides what can happen next.

use pointsman_catalog::UnixMillis;
use pointsman_cutover::machine::{
    Assertion, Direction, Event, LeftSource, Machine, Side, State, StreamState,
};

use crate::{
    bounds::{Promotion, Troubles},
    message::{Api, Message, Route, Statement},
    process::{Coverage, Process, Record, Who},
    server::{Access, Power, Source, Strayed, Target},
    violation::{Violation, Violations},
};

/// One instant of a migration and of what it runs in.
///
/// A client may write on every server that lets anybody in: it stands for the sidecars that were
/// cut off at any time before.
#[derive(Clone, Copy, Debug)]
pub struct World {
    pub promotion: Promotion,
    pub source: Source,
    pub target: Target,
    pub api: Api,
    pub route: Route,
    /// The switch under way has held.
    pub held: bool,
    pub messages: [Option<Message>; 2],
    pub journal: Record,
    pub leader: Option<Process>,
    pub stale: Option<Process>,
    pub left: Troubles,
    pub violations: Violations,
    /// What an operator last accepted or asserted, for the attempt under way.
    pub said: Option<Assertion>,
    /// An operator's word was taken against a server that was not gone: what follows is theirs.
    pub word_taken: bool,
}

/// Nothing that the machine decides hangs on the time but how alarms wait.
pub(crate) const NOW: UnixMillis = UnixMillis(0);
/// When no alarm has to wait any more.
pub(crate) const LATER: UnixMillis = UnixMillis(u64::MAX / 2);

impl World {
    /// A migration that is ready to switch, driven by one process. `None` if the machine does not
    /// get there.
    pub fn prepared(promotion: Promotion, left: Troubles) -> Option<Self> {
        let started = Machine::planned().apply(Event::StartRequested, NOW).ok()?;
        let prepared = started.machine.apply(Event::Done, NOW).ok()?;
        let record = Record {
            machine: prepared.machine,
            facts: crate::process::Facts::default(),
        };
        Some(Self {
            promotion,
            source: Source::serving(),
            target: Target::standby(),
            api: Api::Idle,
            route: Route::Source,
            held: false,
            messages: [None; 2],
            journal: record,
            leader: Some(Process::new(record)),
            stale: None,
            left,
            violations: Violations::default(),
            said: None,
            word_taken: false,
        })
    }

    /// The same with nothing left to go wrong.
    #[must_use]
    pub fn calm(mut self) -> Self {
        self.left = Troubles::calm();
        self
    }

    /// Where the migration stands on the disk.
    pub fn state(&self) -> State {
        self.journal.machine.state()
    }

    /// Whether the source was left, and has not been opened again by a rollback that ended.
    pub(crate) fn has_left_source(&self) -> bool {
        match self.state() {
            State::Baking { .. } | State::Completing => true,
            State::Switching { direction, .. }
            | State::Undoing { direction, .. }
            | State::NeedsOperator { direction, .. } => direction == Direction::Reverse,
            State::Planned
            | State::SettingUp
            | State::Prepared
            | State::Promoting { .. }
            | State::Undone
            | State::RolledBack
            | State::Completed
            | State::Cancelling
            | State::Cancelled
            | State::Abandoned => false,
        }
    }

    /// Whether it has ended, one way or the other.
    pub fn has_ended(&self) -> bool {
        match self.state() {
            State::Undone
            | State::RolledBack
            | State::Completed
            | State::Cancelled
            | State::Abandoned => true,
            State::Planned
            | State::SettingUp
            | State::Prepared
            | State::Switching { .. }
            | State::Promoting { .. }
            | State::Undoing { .. }
            | State::Baking { .. }
            | State::Completing
            | State::Cancelling
            | State::NeedsOperator { .. } => false,
        }
    }

    pub(crate) fn process(&self, who: Who) -> Option<Process> {
        match who {
            Who::Leader => self.leader,
            Who::Stale => self.stale,
        }
    }

    pub(crate) fn process_mut(&mut self, who: Who) -> &mut Option<Process> {
        match who {
            Who::Leader => &mut self.leader,
            Who::Stale => &mut self.stale,
        }
    }

    pub(crate) fn power(&self, side: Side) -> Power {
        match side {
            Side::Source => self.source.power,
            Side::Target => self.target.power,
        }
    }

    pub(crate) fn power_mut(&mut self, side: Side) -> &mut Power {
        match side {
            Side::Source => &mut self.source.power,
            Side::Target => &mut self.target.power,
        }
    }

    pub(crate) fn access(&self, side: Side) -> Access {
        match side {
            Side::Source => self.source.access,
            Side::Target => self.target.access,
        }
    }

    pub(crate) fn access_mut(&mut self, side: Side) -> &mut Access {
        match side {
            Side::Source => &mut self.source.access,
            Side::Target => &mut self.target.access,
        }
    }

    /// What every process and the journal know of the migration.
    pub(crate) fn records(&mut self) -> impl Iterator<Item = &mut Record> {
        let processes = [&mut self.leader, &mut self.stale];
        let known = processes.into_iter().flatten();
        known
            .map(|process| &mut process.record)
            .chain([&mut self.journal])
    }

    /// Room for one more message on its way.
    pub(crate) fn send(&mut self, statement: Statement, epoch: u8) -> Option<()> {
        let free = self.messages.iter_mut().find(|slot| slot.is_none())?;
        *free = Some(Message { statement, epoch });
        Some(())
    }

    /// Whether a request to the API is on its way.
    pub(crate) fn api_is_being_asked(&self) -> bool {
        let sent = self.messages.iter().flatten();
        sent.into_iter()
            .any(|message| message.statement == Statement::AskApi)
    }

    /// Whether the target delivers to the source.
    pub(crate) fn streams(&self) -> bool {
        let up = self.source.power == Power::Up && self.target.power == Power::Up;
        up && self.source.applies && self.target.is_primary && self.target.slots.are_there()
    }

    /// What happens at once and is told apart by nobody.
    pub(crate) fn settle(&mut self) {
        // On an open source somebody commits at any time, and the target never has the last of it.
        if self.source.accepts() && !self.records().any(|record| record.facts.closed) {
            self.target.lacks = true;
        }
        if self.stale.is_some_and(|stale| stale.owes_nothing()) {
            self.stale = None;
        }
    }

    /// Whether what follows is looked at: behind a broken promise it proves nothing more, behind an
    /// end at which nothing is under way nothing follows.
    pub(crate) fn goes_on(&self) -> bool {
        self.violations.none() && !self.is_at_its_end()
    }

    /// Whether nothing is under way that could still break a promise.
    pub(crate) fn is_at_its_end(&self) -> bool {
        let promoted_late =
            self.api != Api::Idle && !self.target.is_primary && self.target.power != Power::Gone;
        let state = self.state();
        let ready = matches!(state, State::Prepared | State::Undone);
        (state.is_over() || (ready && self.left.requests == 0))
            && self.stale.is_none()
            && self.messages == [None; 2]
            && !promoted_late
            && self.leader.is_some_and(|leader| leader.owes_nothing())
    }

    /// Looks for what may never be seen.
    pub(crate) fn judge(&mut self) {
        let excused =
            self.word_taken || self.source.opened_by_stranger || self.target.opened_by_stranger;
        if self.source.accepts() && self.target.accepts() && !excused {
            self.violations.add(Violation::TwoWriters);
        }
        if !self.serves_where_it_says() {
            self.violations.add(Violation::NotServed);
        }
        if self.calls_a_broken_way_back_proven() {
            self.violations.add(Violation::SaidProven);
        }
        if self.sends_the_held_to_the_source() {
            self.violations.add(Violation::HeldForSource);
        }
        if self
            .leader
            .is_some_and(|leader| leader.owes_after_the_end())
        {
            self.violations.add(Violation::AbandonedOwes);
        }
    }

    /// The leader, if it rests and no other process is left.
    fn at_rest(&self) -> Option<Process> {
        self.leader
            .filter(|leader| leader.is_between_commands() && self.stale.is_none())
    }

    fn calls_a_broken_way_back_proven(&self) -> bool {
        let stream = StreamState::Proven;
        self.at_rest().is_some_and(|leader| {
            let Record { machine, facts } = leader.record;
            let seen = self.source.applies && facts.stream == Some(Coverage::Complete);
            let unsaid = machine.left_source() == LeftSource::Quiet
                && self.source.strayed == Strayed::Before;
            machine.state() == (State::Baking { stream }) && (!seen || unsaid)
        })
    }

    /// Whether clients reach an open server where a leader at rest says that they are served.
    fn serves_where_it_says(&self) -> bool {
        let Some(leader) = self.at_rest() else {
            return true;
        };
        let state = leader.record.machine.state();
        // It says that it may be tried again.
        if state == State::Undone && (self.target.is_primary || self.target.is_cut_off) {
            return false;
        }
        let served = match state {
            State::Prepared | State::Undone | State::RolledBack | State::Cancelled => {
                Some((Side::Source, Route::Source))
            }
            State::Baking { .. } | State::Completed => Some((Side::Target, Route::Target)),
            State::Planned
            | State::SettingUp
            | State::Switching { .. }
            | State::Promoting { .. }
            | State::Undoing { .. }
            | State::Completing
            | State::Cancelling
            | State::Abandoned
            | State::NeedsOperator { .. } => None,
        };
        // In an outage of the target new connections may be held, or refused behind that.
        let held = leader.record.machine.held_since().is_some();
        served.is_none_or(|(side, route)| {
            let waits = held && matches!(self.route, Route::Hold | Route::Refuse);
            (waits || self.route == route) && self.access(side) == Access::Open
        })
    }

    /// The direction in which the journal says that writers are being taken away.
    pub(crate) fn leaves(&self) -> Option<Direction> {
        self.state().place().map(|(direction, _)| direction)
    }
}
