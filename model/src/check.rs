//! The model as stateright checks it.

use std::collections::BTreeMap;

use stateright::{Checker, Model, Property};

use crate::{
    action::{self, Action},
    bounds::{Promotion, Troubles},
    trace::Trace,
    violation::Violation,
    world::World,
};

/// A switch within bounds.
#[derive(Debug)]
pub struct SwitchModel {
    pub promotion: Promotion,
    pub troubles: Troubles,
    actions: Vec<Action>,
}

/// What stateright's search found.
#[derive(Debug)]
pub struct Checked {
    pub states: usize,
    pub transitions: usize,
    pub depth: usize,
    /// By the promise that is broken.
    pub violated: BTreeMap<&'static str, Trace>,
}

impl SwitchModel {
    pub fn new(promotion: Promotion, troubles: Troubles) -> Self {
        Self {
            promotion,
            troubles,
            actions: action::all(),
        }
    }

    /// Searches everything within the bounds, breadth first.
    pub fn check(self, threads: usize) -> Checked {
        let checker = self.checker().threads(threads).spawn_bfs().join();
        let violated = checker
            .discoveries()
            .into_iter()
            .map(|(promise, path)| (promise, Trace::of(path.into_vec())))
            .collect();
        Checked {
            states: checker.unique_state_count(),
            transitions: checker.state_count(),
            depth: checker.max_depth(),
            violated,
        }
    }
}

impl Model for SwitchModel {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        World::prepared(self.promotion, self.troubles)
            .into_iter()
            .collect()
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        if world.goes_on() {
            actions.extend(&self.actions);
        }
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        world.after(action)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let conditions: [fn(&Self, &World) -> bool; 17] = [
            kept::<0>, kept::<1>, kept::<2>, kept::<3>, kept::<4>, kept::<5>, kept::<6>, kept::<7>,
            kept::<8>, kept::<9>, kept::<10>, kept::<11>, kept::<12>, kept::<13>, kept::<14>,
            kept::<15>, kept::<16>,
        ];
        Violation::ALL
            .into_iter()
            .zip(conditions)
            .map(|(violation, kept)| Property::always(violation.promise(), kept))
            .collect()
    }
}

fn kept<const N: usize>(_: &SwitchModel, world: &World) -> bool {
    Violation::ALL
        .get(N)
        .is_none_or(|&violation| !world.violations.has(violation))
}
