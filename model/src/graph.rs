//! The graph of all worlds, for what a search forward cannot say: whether an end can still be
//! reached from everywhere.

use std::collections::{BTreeMap, VecDeque};

use pointsman_cutover::machine::{State, StreamState};

use crate::{
    action::{self, Action},
    bounds::{Promotion, Troubles},
    ends::{Calm, Stuck},
    search::{Index, Search},
    trace::Trace,
    violation::{COMES_THROUGH, REACHES_END, Violation},
    world::World,
};

/// Everything that was explored.
#[derive(Debug)]
pub struct Explored {
    /// Within the bounds.
    pub states: usize,
    /// How often something happens that leads from one to another.
    pub transitions: usize,
    pub depth: usize,
    /// In the calm that follows, in which nothing goes wrong and operators ask for anything.
    pub calm_states: usize,
    /// What was seen to happen.
    pub seen: Seen,
    /// Promises that were broken.
    pub violated: BTreeMap<&'static str, Trace>,
    /// From where no end can be reached any more.
    pub stuck: Vec<Stuck>,
}

/// The first promise that was found broken.
#[derive(Debug)]
pub struct Broken {
    pub promise: &'static str,
    /// How it came to that.
    pub trace: Trace,
    /// How many worlds it took.
    pub states: usize,
}

impl Explored {
    /// Explores everything within the bounds, and the calm after each world of it.
    pub fn of(promotion: Promotion, troubles: Troubles) -> Self {
        let actions = action::all();
        let root = World::prepared(promotion, troubles);
        let mut bounded = Bounded::new(root, &actions);
        let mut calm = Calm::default();
        while let Some((number, world)) = bounded.next() {
            if world.violations.none() {
                calm.begin_behind(&world, number);
            }
        }
        calm.explore(&actions);
        let mut violated = bounded.violated();
        for (&promise, &seen) in &calm.violated {
            let (began, taken) = calm.search.way_to(seen, &actions);
            let before = calm.root(began).unwrap_or_default();
            let trace = || bounded.trace(before, &taken);
            violated.entry(promise).or_insert_with(trace);
        }
        Self {
            states: bounded.search.len(),
            transitions: bounded.search.transitions,
            depth: bounded.search.depth(),
            calm_states: calm.search.len(),
            seen: bounded.seen,
            violated,
            stuck: calm.without_an_end(|number| bounded.trace(number, &[])),
        }
    }

    /// What is broken, and how it came to that.
    pub fn broken(self) -> Option<Broken> {
        let states = self.states;
        let stuck = self.stuck.into_iter().find(Stuck::is_broken);
        let stuck = stuck.map(|stuck| (REACHES_END, stuck.example));
        let mut violated = self.violated.into_iter();
        let broken = violated.find(|(promise, _)| !Violation::is_known(promise));
        let broken = broken.or(stuck);
        let blind = !self.seen.comes_through();
        let broken = broken.or_else(|| blind.then(|| (COMES_THROUGH, Trace::default())));
        broken.map(|(promise, trace)| Broken {
            promise,
            trace,
            states,
        })
    }

    /// The first promise that is found broken within the bounds.
    pub fn until_broken(promotion: Promotion, troubles: Troubles) -> Option<Broken> {
        let actions = action::all();
        let root = World::prepared(promotion, troubles);
        let mut bounded = Bounded::new(root, &actions);
        while bounded.next().is_some() {
            let broken = bounded.violated().into_iter();
            let mut broken = broken.filter(|(promise, _)| !Violation::is_known(promise));
            if let Some((promise, trace)) = broken.next() {
                let states = bounded.search.len();
                return Some(Broken {
                    promise,
                    trace,
                    states,
                });
            }
        }
        None
    }
}

/// The search within the bounds.
#[derive(Debug)]
struct Bounded<'a> {
    root: Option<World>,
    actions: &'a [Action],
    search: Search,
    queue: VecDeque<World>,
    here: Index,
    broken: BTreeMap<&'static str, Index>,
    seen: Seen,
}

impl<'a> Bounded<'a> {
    fn new(root: Option<World>, actions: &'a [Action]) -> Self {
        let mut search = Search::default();
        if let Some(world) = &root {
            search.root(world);
        }
        Self {
            root,
            actions,
            search,
            queue: root.into_iter().collect(),
            here: 0,
            broken: BTreeMap::new(),
            seen: Seen::default(),
        }
    }

    /// Expands one more world.
    fn next(&mut self) -> Option<(Index, World)> {
        let world = self.queue.pop_front()?;
        let here = self.here;
        self.here += 1;
        self.seen.see(&world);
        for violation in Violation::ALL {
            if world.violations.has(violation) {
                self.broken.entry(violation.promise()).or_insert(here);
            }
        }
        if world.goes_on() {
            self.search
                .expand(&world, here, self.actions, &mut self.queue, |_| {});
        }
        Some((here, world))
    }

    fn violated(&self) -> BTreeMap<&'static str, Trace> {
        let broken = self.broken.iter();
        broken
            .map(|(&promise, &seen)| (promise, self.trace(seen, &[])))
            .collect()
    }

    /// How a world was come to, and what followed in the calm.
    fn trace(&self, to: Index, in_the_calm: &[Action]) -> Trace {
        let (_, taken) = self.search.way_to(to, self.actions);
        self.root.map_or_else(Trace::default, |root| {
            Trace::replayed(root, &taken, in_the_calm)
        })
    }
}

/// What was seen to happen, so that the bounds are no empty words.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub struct Seen {
    /// A bake with a proven way back.
    pub proven: bool,
    /// A rollback that lost nothing.
    pub rolled_back: bool,
    pub completed: bool,
    /// A leader, and another process that does not know of it.
    pub two_leaders: bool,
    pub two_messages_in_flight: bool,
    /// A bake that holds new connections for a target that is down.
    pub held: bool,
    pub abandoned: bool,
}

impl Seen {
    fn see(&mut self, world: &World) {
        let state = world.state();
        let stream = StreamState::Proven;
        self.proven |= state == (State::Baking { stream });
        self.rolled_back |= state == State::RolledBack && !world.target.is_ahead();
        self.completed |= state == State::Completed;
        self.two_leaders |= world.leader.is_some() && world.stale.is_some();
        self.held |= world.journal.machine.held_since().is_some();
        self.abandoned |= state == State::Abandoned;
        self.two_messages_in_flight |= world.messages.iter().all(Option::is_some);
    }

    /// Whether a switch can bake with a proven way back, roll back and complete.
    pub fn comes_through(self) -> bool {
        self.proven && self.rolled_back && self.completed
    }
}
