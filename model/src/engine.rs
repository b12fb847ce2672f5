//! What the driver does: it runs the command that the machine owes, lets the machine take what
//! came of it, and does what the machine says about it, in that order.

use pointsman_catalog::UnixMillis;
use pointsman_cutover::machine::{
    Assertion, Direction, Durability, Effect, Event, LeftSource, Side, State, Transition,
};

use crate::{
    bounds::UNLIMITED,
    message::{Route, Statement},
    process::{Process, Record, Session, Who, short},
    reach::{Asked, Outcome},
    server::{Access, Power},
    steps::{self, Turn},
    world::{LATER, NOW, World},
};

impl World {
    /// The next thing that a process does.
    pub(crate) fn advance(mut self, who: Who, outcome: Outcome) -> Option<Self> {
        let process = self.process(who)?;
        if let Some(event) = process.pending {
            if outcome != Outcome::Works {
                return None;
            }
            self.happened(who, event, NOW);
            return Some(self);
        }
        let command = process.record.machine.command()?;
        let turn = steps::perform(&mut self, who, command, outcome)?;
        match turn {
            Turn::Goes(at) => {
                if let Some(process) = self.process_mut(who) {
                    process.at = at;
                }
            }
            Turn::Ends(event) if !outcome.leaves_traces() => self.happened(who, event, NOW),
            Turn::Ends(event) | Turn::Did(event) => {
                self.process_mut(who).as_mut()?.pending = Some(event);
            }
        }
        Some(self)
    }

    /// Lets the machine take an event, and does what it says.
    pub(crate) fn happened(&mut self, who: Who, event: Event, at: UnixMillis) {
        let Some(mut process) = self.process(who) else {
            return;
        };
        let former = process.record.machine.state();
        let applied = process.record.machine.apply(event, at);
        let Ok(Transition { machine, effects }) = applied else {
            // The driver ends with that.
            if who == Who::Leader {
                self.violations.add(crate::Violation::NotPossible);
            }
            *self.process_mut(who) = None;
            return;
        };
        if who == Who::Leader {
            self.said = self.said.filter(|&said| outlasts(said, machine.state()));
            self.judge_event(former, event, machine.state());
        }
        process.record.machine = machine;
        process.at = 0;
        process.pending = None;
        process.by_word = false;
        for effect in effects {
            match effect {
                Effect::BeginSwitch(direction) => {
                    process.record.facts.begin_switch(direction);
                    self.held = false;
                }
                Effect::ForgetSessions | Effect::ReleaseLease => process.forget_sessions(),
                Effect::Journal {
                    durability: Durability::Now,
                    ..
                }
                | Effect::Remark(_) => {
                    // The journal has a newer revision than a process that was taken over from.
                    if who == Who::Stale {
                        self.stale = None;
                        return;
                    }
                    self.journal = process.record;
                }
                Effect::Journal {
                    durability: Durability::WithTheNext,
                    ..
                }
                | Effect::RememberCause
                | Effect::ForgetCause
                | Effect::TryAgain
                | Effect::CountRisk
                // Published by the next look.
                | Effect::HoldWriters => {}
            }
        }
        *self.process_mut(who) = Some(process);
    }

    /// A new process takes over what the journal has. The former leader may live on.
    pub(crate) fn taken_over(mut self) -> Option<Self> {
        if let Some(former) = self.leader {
            self.left.spend(|left| &mut left.takeovers)?;
            if self.stale.is_some() {
                return None;
            }
            self.stale = Some(former);
        }
        self.leader = Some(Process::new(self.journal));
        self.source.meddling = self.source.meddling.at_the_beginning();
        self.happened(Who::Leader, Event::Restarted, NOW);
        Some(self)
    }

    /// An operator asks for something. The driver hears it between two commands.
    pub(crate) fn asked(mut self, event: Event) -> Option<Self> {
        let machine = self.listening()?.record.machine;
        if event == Event::AbortRequested && !is_abortable(machine.state()) {
            return None;
        }
        if self.left.requests == UNLIMITED && !self.is_true(event) {
            return None;
        }
        if event == Event::AbandonRequested {
            self.permit_abandoning()?;
        }
        machine.apply(event, NOW).ok()?;
        // An end leaves no room for another.
        if event != Event::AbandonRequested {
            self.left.ask()?;
        }
        if event != Event::RetryChosen {
            self.said = said_by(event);
        }
        self.source.meddling = self.source.meddling.at_the_beginning();
        self.happened(Who::Leader, event, NOW);
        Some(self)
    }

    /// An alarm fires, soon after the last rollback was undone or long after.
    pub(crate) fn alarmed(mut self, soon: bool) -> Option<Self> {
        let machine = self.listening()?.record.machine;
        let State::Baking { stream } = machine.state() else {
            return None;
        };
        if stream.rollback_waits() {
            return None;
        }
        self.left.fire()?;
        self.said = None;
        let at = if soon { NOW } else { LATER };
        self.happened(Who::Leader, Event::AlarmFired, at);
        Some(self)
    }

    /// The watch of the bake looks at the source: what was opened is shut before the record has it.
    pub(crate) fn watched_source(mut self) -> Option<Self> {
        let Record { machine, facts } = self.listening()?.record;
        let bakes = matches!(machine.state(), State::Baking { .. });
        let open = self.source.access == Access::Open;
        let told = machine.left_source() == LeftSource::Disturbed;
        let unheard = facts.strayed && machine.left_source() == LeftSource::Quiet;
        let news = open || unheard || (facts.written_behind && !told);
        if !bakes || facts.admits || !news {
            return None;
        }
        let leader = self.leader.as_mut()?;
        if leader.source == Session::Dead {
            leader.source = Session::None;
        }
        let asked = self.look(Who::Leader, Side::Source, Outcome::Works)?;
        let leader = self.leader.as_mut()?;
        if asked != Asked::Answered {
            return None;
        }
        leader.record.facts.written_behind = false;
        leader.record.facts.strayed = true;
        let event = Event::SourceFenceBroken;
        if open {
            leader.pending = Some(event);
            self.shut_source(Who::Leader);
        } else {
            self.happened(Who::Leader, event, NOW);
        }
        Some(self)
    }

    /// Closes the source and ends everybody there.
    pub(crate) fn shut_source(&mut self, who: Who) {
        let process = self.process(who);
        let epoch = process.map_or(0, |process| short(process.record.machine.epoch()));
        if self.source.access == Access::Open {
            self.judge_change(who);
        }
        self.judge_closing_of_source();
        self.execute(Statement::Close(Side::Source), epoch);
        self.end_sessions(Side::Source);
    }

    /// An operator moves the routes of a bake, or of a migration that is ready, by force, which parks it,
    /// or moves those of a parked one back.
    pub(crate) fn moved_by_hand(mut self, side: Side) -> Option<Self> {
        let state = self.listening()?.record.machine.state();
        match (side, state) {
            // In the calm nobody does that any more.
            (Side::Source, State::Baking { .. }) if self.left.requests < UNLIMITED => {
                self.left.ask()?;
                self.said = None;
                self.happened(Who::Leader, Event::MovedByHand, NOW);
                self.route = Route::Source;
            }
            (Side::Target, State::Prepared | State::Undone) if self.left.requests < UNLIMITED => {
                self.left.ask()?;
                self.happened(Who::Leader, Event::MovedByHand, NOW);
                self.route = Route::Elsewhere;
            }
            (Side::Source, State::NeedsOperator { .. }) if self.route == Route::Elsewhere => {
                self.left.ask()?;
                self.route = Route::Source;
            }
            (Side::Target, State::NeedsOperator { direction, .. })
                if direction == Direction::Reverse && self.route == Route::Source =>
            {
                self.left.ask()?;
                self.route = Route::Target;
            }
            _ => return None,
        }
        Some(self)
    }

    /// The watch of the bake sees the reverse stream.
    pub(crate) fn watched(mut self, event: Event) -> Option<Self> {
        self.listening()?;
        self.happened(Who::Leader, event, NOW);
        Some(self)
    }

    /// Whether an operator who asserts this is right.
    fn is_true(&self, event: Event) -> bool {
        let asserted = match said_by(event) {
            Some(Assertion::SourceDown) => Some(Side::Source),
            Some(Assertion::TargetDown) => Some(Side::Target),
            Some(Assertion::LossAccepted) | None => None,
        };
        asserted.is_none_or(|side| self.power(side) == Power::Gone)
    }

    pub(crate) fn listening(&self) -> Option<Process> {
        self.leader.filter(Process::is_between_commands)
    }
}

/// Whether what an operator accepted or asserted still counts in this state. A loss is accepted for
/// the whole rollback.
fn outlasts(said: Assertion, state: State) -> bool {
    match state {
        State::Baking { .. } => false,
        State::NeedsOperator { .. } => said == Assertion::LossAccepted,
        State::Planned
        | State::SettingUp
        | State::Prepared
        | State::Switching { .. }
        | State::Promoting { .. }
        | State::Undoing { .. }
        | State::Undone
        | State::RolledBack
        | State::Completing
        | State::Completed
        | State::Cancelling
        | State::Cancelled
        | State::Abandoned => true,
    }
}

/// What an operator accepts or asserts with a request.
fn said_by(event: Event) -> Option<Assertion> {
    let said = [
        (Event::LossyRollbackRequested, Assertion::LossAccepted),
        (Event::CompleteWithoutSourceRequested, Assertion::SourceDown),
        (Event::RetryWithoutSourceChosen, Assertion::SourceDown),
        (Event::OpenSourceWithoutTargetChosen, Assertion::TargetDown),
    ];
    let found = said.into_iter().find(|&(asked, _)| asked == event);
    found.map(|(_, said)| said)
}

/// Where a rollback that an operator asks for is an abort.
fn is_abortable(state: State) -> bool {
    match state {
        State::Promoting { .. } => true,
        State::Switching { direction, .. } => direction == Direction::Forward,
        State::Planned
        | State::SettingUp
        | State::Prepared
        | State::Undoing { .. }
        | State::Undone
        | State::Baking { .. }
        | State::RolledBack
        | State::Completing
        | State::Completed
        | State::Cancelling
        | State::Cancelled
        | State::Abandoned
        | State::NeedsOperator { .. } => false,
    }
}
