//! A bake whose target is down, and the end of a migration that nothing else ends.

use pointsman_cutover::machine::{Assertion, Direction, Event, Side, State, Step};

use crate::{
    bounds::UNLIMITED,
    message::Route,
    process::{Process, Who},
    server::Power,
    world::{NOW, World},
};

impl World {
    /// The watch of the bake finds the target down. That new connections are held is on record first,
    /// and published then.
    pub(crate) fn watched_silent_target(mut self) -> Option<Self> {
        let machine = self.listening()?.record.machine;
        let bakes = matches!(machine.state(), State::Baking { .. });
        if !bakes || self.target.power == Power::Up {
            return None;
        }
        if machine.held_since().is_none() {
            self.happened(Who::Leader, Event::TargetDown, NOW);
        } else if self.route == Route::Target {
            self.route = Route::Hold;
        } else {
            return None;
        }
        Some(self)
    }

    /// It finds the target back. Those who are held are sent there before the record has it.
    pub(crate) fn watched_target_answer(mut self) -> Option<Self> {
        let machine = self.listening()?.record.machine;
        let bakes = matches!(machine.state(), State::Baking { .. });
        let held = machine.held_since().is_some() && self.route != Route::Source;
        if !bakes || !held || self.target.power != Power::Up {
            return None;
        }
        self.route = Route::Target;
        self.leader.as_mut()?.pending = Some(Event::TargetBack);
        Some(self)
    }

    /// A migration is abandoned when writers are sent elsewhere, or neither server answers. One that is up is
    /// silent where a look at it is lost. In the calm nobody needs that.
    pub(crate) fn permit_abandoning(&mut self) -> Option<()> {
        if self.left.requests == UNLIMITED {
            return None;
        }
        for side in [Side::Source, Side::Target] {
            if self.route != Route::Elsewhere && self.power(side) == Power::Up {
                self.left.spend(|left| &mut left.losses)?;
            }
        }
        Some(())
    }

    /// Whether those who are held for the target reach the source, and no operator chose that.
    pub(crate) fn sends_the_held_to_the_source(&self) -> bool {
        let step = Step::Prepare;
        let direction = Direction::Reverse;
        self.leader.is_some_and(|leader| {
            let machine = leader.record.machine;
            let state = machine.state();
            let waits = matches!(state, State::Baking { .. })
                || state == (State::Undoing { direction, step });
            let chosen = self.said == Some(Assertion::TargetDown);
            waits && machine.held_since().is_some() && self.route == Route::Source && !chosen
        })
    }
}

impl Process {
    /// Whether its migration was abandoned, and it has something to do all the same.
    pub(crate) fn owes_after_the_end(&self) -> bool {
        let machine = self.record.machine;
        machine.state() == State::Abandoned && machine.command().is_some()
    }
}
