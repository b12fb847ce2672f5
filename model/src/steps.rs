//! What the steps of the engine do to the two servers, to the sidecars and to the record: the
//! order of `cutover/src/steps`, one thing that can be cut off at a time.

mod bake;
mod forward;
mod managed;
mod prove;
mod reverse;
mod undo;

use pointsman_cutover::machine::{Assertion, Command, Direction, Event, LeftSource, Side, Step};

use crate::{
    process::{Facts, Process, Who},
    reach::{Asked, Outcome},
    world::World,
};

/// Where a command is after one thing more.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Turn {
    /// Here.
    Goes(u8),
    /// At its end, and nothing but looks lie behind it since the last turn.
    Ends(Event),
    /// At its end, behind something that was changed.
    Did(Event),
}

/// Does the next thing of the command that `who` runs; `None` if this outcome cannot be.
pub(crate) fn perform(
    world: &mut World,
    who: Who,
    command: Command,
    outcome: Outcome,
) -> Option<Turn> {
    let mut act = Act {
        who,
        outcome,
        at: world.process(who)?.at,
        world,
    };
    match command {
        Command::Step(direction, step) => act.step(direction, step),
        Command::Undo(Direction::Forward, step) => undo::forward(&mut act, step),
        Command::Undo(Direction::Reverse, step) => undo::reverse(&mut act, step),
        Command::RequestPromotion => managed::request(&mut act),
        Command::AwaitPromotion => managed::observe(&mut act),
        Command::Arm => bake::arm(&mut act),
        Command::Complete => bake::complete(&mut act),
        Command::Cancel => bake::cancel(&mut act),
        Command::RestoreReaders => bake::restore_readers(&mut act),
        Command::SetUp => bake::set_up(&mut act),
        Command::Watch => None,
    }
}

/// One thing that a process does.
#[derive(Debug)]
struct Act<'a> {
    world: &'a mut World,
    who: Who,
    outcome: Outcome,
    /// How far the command is.
    at: u8,
}

impl Act<'_> {
    fn step(&mut self, direction: Direction, step: Step) -> Option<Turn> {
        use {Direction as D, Step as S};
        match (direction, step) {
            (D::Forward, S::Prepare) => forward::prepare(self),
            (D::Reverse, S::Prepare) => reverse::prepare(self),
            (direction, S::Hold) => self.hold(direction),
            (D::Forward, S::Fence) => forward::fence(self),
            (D::Reverse, S::Fence) => reverse::fence(self),
            (D::Forward, S::CatchUp) => forward::catch_up(self),
            (D::Reverse, S::CatchUp) => reverse::catch_up(self),
            (D::Forward, S::Prove) => prove::forward(self),
            (D::Reverse, S::Prove) => reverse::prove(self),
            (D::Forward, S::Promote) => forward::promote(self),
            (D::Reverse, S::Promote) => reverse::promote(self),
            (D::Forward, S::Prime) => forward::prime(self),
            (D::Reverse, S::Prime) => reverse::prime(self),
            (D::Forward, S::Flip) => forward::flip(self),
            (D::Reverse, S::Flip) => reverse::flip(self),
        }
    }

    /// The same outcome for a later thing of the same command that is no wait.
    fn goes_on(&mut self, at: u8) {
        self.at = at;
    }

    fn process(&mut self) -> Option<&mut Process> {
        self.world.process_mut(self.who).as_mut()
    }

    fn facts(&self) -> Facts {
        let process = self.world.process(self.who);
        process.map_or_else(Facts::default, |process| process.record.facts)
    }

    fn learn(&mut self, learn: impl FnOnce(&mut Facts)) {
        if let Some(process) = self.process() {
            learn(&mut process.record.facts);
        }
    }

    fn loss_is_accepted(&self) -> bool {
        let process = self.world.process(self.who);
        process.is_some_and(|process| process.holds(Assertion::LossAccepted))
    }

    fn left_source(&self) -> LeftSource {
        let process = self.world.process(self.who);
        process.map_or(LeftSource::Quiet, |process| {
            process.record.machine.left_source()
        })
    }

    fn look(&mut self, side: Side) -> Option<Asked> {
        self.world.look(self.who, side, self.outcome)
    }

    fn look_at_both(&mut self) -> Option<Asked> {
        self.world.look_at_both(self.who, self.outcome)
    }

    fn end_sessions(&mut self, side: Side) {
        self.world.end_sessions(side);
    }

    /// Nothing but the step's own wait can fail here: it goes on waiting, or its time is over.
    fn waits(&self) -> Option<Turn> {
        (self.outcome == Outcome::TimedOut).then_some(Turn::Ends(Event::Failed))
    }
}

impl Asked {
    /// The end of a command that needed an answer; `None` where it has one.
    fn failure(self) -> Option<Turn> {
        match self {
            Self::Answered => None,
            Self::Silent(patience) => Some(Turn::Ends(patience.event())),
            Self::Refused => Some(Turn::Ends(Event::Failed)),
        }
    }
}
