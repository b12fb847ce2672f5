//! The graph of all worlds, for what a search forward cannot say: whether an end can still be
//! reached from everywhere.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    hash::{BuildHasherDefault, DefaultHasher, Hash as _, Hasher},
};

use pointsman_cutover::machine::{State, StreamState};

use crate::{
    action::{self, Action},
    bounds::{Promotion, Troubles},
    server::Power,
    trace::Trace,
    violation::Violation,
    world::World,
};

/// Everything that was explored.
#[derive(Debug)]
pub struct Explored {
    /// Within the bounds.
    pub states: usize,
    pub depth: usize,
    /// In the calm that follows, in which nothing goes wrong and operators ask for anything.
    pub calm_states: usize,
    /// Whether it was seen to bake with a proven way back, to roll back and to complete.
    pub comes_through: bool,
    /// Promises that were broken.
    pub violated: BTreeMap<&'static str, Trace>,
    /// From where no end can be reached any more.
    pub stuck: Vec<Stuck>,
}

/// Worlds of one kind from which no end can be reached.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Stuck {
    /// Which servers are gone for good.
    pub gone: &'static str,
    /// Where the migration stands on the disk.
    pub state: String,
    pub worlds: usize,
    /// Whether an end is reached where an operator takes a server down for good.
    pub by_force: bool,
    /// How the first of them was come to.
    pub example: Trace,
}

/// A world's number.
type Index = u32;

/// Worlds by their fingerprint.
type Numbers = HashMap<u64, Index, BuildHasherDefault<Identity>>;

/// How a world was first come to.
#[derive(Clone, Copy, Debug)]
struct Origin {
    parent: Index,
    action: u8,
}

impl Explored {
    /// Explores everything within the bounds, and the calm after each world of it.
    pub fn of(promotion: Promotion, troubles: Troubles) -> Self {
        let actions = action::all();
        let mut bounded = Search::default();
        let mut calm = Search::default();
        let mut violated = BTreeMap::new();
        let root = World::prepared(promotion, troubles);
        let mut queue: VecDeque<World> = root.into_iter().collect();
        for world in &queue {
            bounded.number(world, None);
        }
        // Each calm world's first bounded one.
        let mut from = Vec::new();
        let mut calm_queue = VecDeque::new();
        let mut here: Index = 0;
        let mut passed = Passed::default();
        while let Some(world) = queue.pop_front() {
            passed.see(&world);
            for violation in Violation::ALL {
                if world.violations.has(violation) {
                    violated
                        .entry(violation.promise())
                        .or_insert_with(|| bounded.trace(root, here, &actions));
                }
            }
            if world.violations.none() {
                let still = world.calm();
                if calm.number(&still, None).1 {
                    from.push(here);
                    calm_queue.push_back(still);
                }
                bounded.expand(&world, here, &actions, &mut queue);
            }
            here += 1;
        }
        let roots = calm_queue.len();
        let stuck = calm.without_an_end(calm_queue, &actions);
        let kinds = Kinds {
            root,
            bounded: &bounded,
            actions: &actions,
            from: &from,
        };
        Self {
            states: bounded.origins.len(),
            depth: bounded.depth(),
            calm_states: calm.origins.len(),
            comes_through: passed.all(),
            violated,
            stuck: kinds.of(stuck
                .into_iter()
                .filter(|(index, ..)| (*index as usize) < roots)),
        }
    }
}

/// What a switch that goes well passes.
#[derive(Clone, Copy, Debug, Default)]
struct Passed {
    proven: bool,
    rolled_back: bool,
    completed: bool,
}

impl Passed {
    fn see(&mut self, world: &World) {
        let state = world.state();
        let stream = StreamState::Proven;
        self.proven |= state == (State::Baking { stream });
        self.rolled_back |= state == State::RolledBack && !world.target.is_ahead();
        self.completed |= state == State::Completed;
    }

    fn all(self) -> bool {
        self.proven && self.rolled_back && self.completed
    }
}

#[derive(Debug, Default)]
struct Search {
    numbers: Numbers,
    origins: Vec<Option<Origin>>,
}

impl Search {
    /// The world's number, and whether it is new.
    fn number(&mut self, world: &World, origin: Option<Origin>) -> (Index, bool) {
        let next = Index::try_from(self.origins.len()).unwrap_or(Index::MAX);
        let number = *self.numbers.entry(fingerprint(world)).or_insert(next);
        let new = number == next;
        if new {
            self.origins.push(origin);
        }
        (number, new)
    }

    /// Numbers all that can follow `world`, and queues what is new. Returns their numbers.
    fn expand(
        &mut self,
        world: &World,
        parent: Index,
        actions: &[Action],
        queue: &mut VecDeque<World>,
    ) -> Vec<(Index, bool)> {
        let mut successors = Vec::new();
        for (action, &happens) in (0_u8..).zip(actions) {
            let Some(next) = world.after(happens) else {
                continue;
            };
            let (number, new) = self.number(&next, Some(Origin { parent, action }));
            if new {
                queue.push_back(next);
            }
            let forced = matches!(happens, Action::OperatorTakesDown(_));
            successors.push((number, forced));
        }
        successors.sort_unstable();
        successors.dedup();
        successors
    }

    fn depth(&self) -> usize {
        let mut depths: Vec<u32> = Vec::with_capacity(self.origins.len());
        for origin in &self.origins {
            let parent = origin.and_then(|origin| depths.get(origin.parent as usize));
            depths.push(parent.map_or(0, |depth| depth + 1));
        }
        depths.last().map_or(0, |&depth| depth as usize)
    }

    fn trace(&self, root: Option<World>, to: Index, actions: &[Action]) -> Trace {
        let mut taken = Vec::new();
        let mut here = to;
        while let Some(Some(origin)) = self.origins.get(here as usize) {
            taken.extend(actions.get(usize::from(origin.action)).copied());
            here = origin.parent;
        }
        taken.reverse();
        root.map_or_else(Trace::default, |root| Trace::replayed(root, &taken))
    }

    /// The worlds from which no end can be reached, by a search backward from all ends.
    fn without_an_end(
        &mut self,
        mut queue: VecDeque<World>,
        actions: &[Action],
    ) -> Vec<(Index, World, bool)> {
        let mut edges: Vec<(Index, Index)> = Vec::new();
        let mut forced: Vec<(Index, Index)> = Vec::new();
        let mut ends = Vec::new();
        let mut worlds = Vec::new();
        let mut here: Index = 0;
        while let Some(world) = queue.pop_front() {
            if world.has_ended() {
                ends.push(here);
            } else if world.violations.all_known() {
                let next = self.expand(&world, here, actions, &mut queue);
                for (next, by_force) in next {
                    let edges = if by_force { &mut forced } else { &mut edges };
                    edges.push((next, here));
                }
            }
            worlds.push(world);
            here += 1;
        }
        let gently = backward(edges.clone(), ends.clone(), worlds.len());
        edges.append(&mut forced);
        let at_all = backward(edges, ends, worlds.len());
        let flags = gently.into_iter().zip(at_all);
        (0..)
            .zip(worlds)
            .zip(flags)
            .filter(|(_, (gently, _))| !gently)
            .map(|((index, world), (_, by_force))| (index, world, by_force))
            .collect()
    }
}

/// Which worlds reach one of `ends`. An edge is a world and one that it follows.
fn backward(mut edges: Vec<(Index, Index)>, ends: Vec<Index>, worlds: usize) -> Vec<bool> {
    edges.sort_unstable();
    let mut reached = vec![false; worlds];
    let mut queue = ends;
    for &end in &queue {
        if let Some(reached) = reached.get_mut(end as usize) {
            *reached = true;
        }
    }
    while let Some(here) = queue.pop() {
        let first = edges.partition_point(|&(next, _)| next < here);
        let follow = edges.get(first..).unwrap_or_default();
        for &(_, before) in follow.iter().take_while(|&&(next, _)| next == here) {
            if let Some(known) = reached.get_mut(before as usize)
                && !*known
            {
                *known = true;
                queue.push(before);
            }
        }
    }
    reached
}

/// Sorts worlds by kind.
#[derive(Debug)]
struct Kinds<'a> {
    root: Option<World>,
    bounded: &'a Search,
    actions: &'a [Action],
    from: &'a [Index],
}

impl Kinds<'_> {
    fn of(&self, worlds: impl Iterator<Item = (Index, World, bool)>) -> Vec<Stuck> {
        let mut kinds: BTreeMap<(&'static str, String, bool), Stuck> = BTreeMap::new();
        for (index, world, by_force) in worlds {
            let gone = gone(&world);
            let state = format!("{:?}", world.state());
            let kind = kinds
                .entry((gone, state.clone(), by_force))
                .or_insert_with(|| {
                    let first = self.from.get(index as usize).copied().unwrap_or_default();
                    Stuck {
                        gone,
                        state,
                        worlds: 0,
                        by_force,
                        example: self.bounded.trace(self.root, first, self.actions),
                    }
                });
            kind.worlds += 1;
        }
        kinds.into_values().collect()
    }
}

fn gone(world: &World) -> &'static str {
    let is_gone = |power| power == Power::Gone;
    match (is_gone(world.source.power), is_gone(world.target.power)) {
        (false, false) => "none",
        (true, false) => "source",
        (false, true) => "target",
        (true, true) => "both",
    }
}

fn fingerprint(world: &World) -> u64 {
    let mut hasher = DefaultHasher::new();
    world.key().hash(&mut hasher);
    hasher.finish()
}

/// Fingerprints are hashes already.
#[derive(Debug, Default)]
struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, fingerprint: u64) {
        self.0 = fingerprint;
    }
}
