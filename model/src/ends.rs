//! From where no end can be reached, by a search backward from all ends.

use std::collections::{BTreeMap, VecDeque};

use pointsman_cutover::machine::State;

use crate::{
    action::Action,
    search::{Index, Search},
    server::Power,
    trace::Trace,
    violation::Violation,
    world::World,
};

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
    /// Whether the target serves and is watched: that ends without force, whatever is held meanwhile.
    pub bakes: bool,
    /// How the first of them was come to.
    pub example: Trace,
}

impl Stuck {
    /// Whether it is stuck although both servers come back, whatever an operator does; a bake also where
    /// a server has to be taken down.
    pub fn is_broken(&self) -> bool {
        self.gone == "none" && (self.bakes || !self.by_force)
    }
}

/// What is remembered of a world.
#[derive(Clone, Copy, Debug)]
struct Place {
    state: State,
    gone: &'static str,
}

/// The calm, in which nothing goes wrong and operators ask for anything that is true.
#[derive(Debug, Default)]
pub(crate) struct Calm {
    pub(crate) search: Search,
    /// By world, as far as they are roots: the bounded one that it follows.
    from: Vec<Index>,
    queue: VecDeque<World>,
    places: Vec<Place>,
    edges: Vec<Edge>,
    ends: Vec<Index>,
    /// A promise that is broken here, where it was seen.
    pub(crate) violated: BTreeMap<&'static str, Index>,
}

/// A world, and one that it follows.
#[derive(Clone, Copy, Debug)]
struct Edge {
    next: Index,
    before: Index,
    by_force: bool,
}

impl Calm {
    /// The calm behind one world of the bounded search.
    pub(crate) fn begin_behind(&mut self, world: &World, number: Index) {
        let still = world.calm();
        if self.search.root(&still).1 {
            self.from.push(number);
            self.queue.push_back(still);
        }
    }

    /// Explores all of it. No root is added any more.
    pub(crate) fn explore(&mut self, actions: &[Action]) {
        let mut here: Index = 0;
        while let Some(world) = self.queue.pop_front() {
            self.places.push(Place {
                state: world.state(),
                gone: gone(&world),
            });
            for violation in Violation::ALL {
                if world.violations.has(violation) {
                    self.violated.entry(violation.promise()).or_insert(here);
                }
            }
            if world.has_ended() {
                self.ends.push(here);
            } else if world.violations.none() {
                let edges = &mut self.edges;
                self.search
                    .expand(&world, here, actions, &mut self.queue, |successor| {
                        edges.push(Edge {
                            next: successor.number,
                            before: here,
                            by_force: successor.by_force,
                        });
                    });
            }
            here += 1;
        }
    }

    /// Whether a world of the bounded search is where the calm began.
    pub(crate) fn root(&self, index: Index) -> Option<Index> {
        self.from.get(index as usize).copied()
    }

    /// The roots without an end, by kind. `trace` says how a bounded world was come to.
    pub(crate) fn without_an_end(&self, trace: impl Fn(Index) -> Trace) -> Vec<Stuck> {
        let graph = Backward::new(&self.edges, self.places.len());
        let gently = graph.reached(&self.ends, false);
        let at_all = graph.reached(&self.ends, true);
        let mut kinds: BTreeMap<(&'static str, String, bool), Stuck> = BTreeMap::new();
        let flags = gently.into_iter().zip(at_all);
        for ((place, root), (gently, by_force)) in self.places.iter().zip(&self.from).zip(flags) {
            if gently {
                continue;
            }
            let Place { state, gone } = *place;
            let bakes = matches!(state, State::Baking { .. });
            let state = format!("{state:?}");
            let kind = kinds
                .entry((gone, state.clone(), by_force))
                .or_insert_with(|| Stuck {
                    gone,
                    state,
                    worlds: 0,
                    by_force,
                    bakes,
                    example: trace(*root),
                });
            kind.worlds += 1;
        }
        kinds.into_values().collect()
    }
}

/// The edges by the world that they lead to.
#[derive(Debug)]
struct Backward {
    /// By world: where its edges begin.
    starts: Vec<usize>,
    before: Vec<(Index, bool)>,
}

impl Backward {
    fn new(edges: &[Edge], worlds: usize) -> Self {
        let mut starts = vec![0; worlds + 1];
        for edge in edges {
            if let Some(count) = starts.get_mut(edge.next as usize + 1) {
                *count += 1;
            }
        }
        let mut sum = 0;
        for start in &mut starts {
            sum += *start;
            *start = sum;
        }
        let mut free = starts.clone();
        let mut before = vec![(0, false); edges.len()];
        for edge in edges {
            if let Some(slot) = free.get_mut(edge.next as usize)
                && let Some(place) = before.get_mut(*slot)
            {
                *place = (edge.before, edge.by_force);
                *slot += 1;
            }
        }
        Self { starts, before }
    }

    /// Which worlds reach one of `ends`.
    fn reached(&self, ends: &[Index], by_force: bool) -> Vec<bool> {
        let mut reached = vec![false; self.starts.len().saturating_sub(1)];
        let mut queue = ends.to_vec();
        for &end in ends {
            if let Some(reached) = reached.get_mut(end as usize) {
                *reached = true;
            }
        }
        while let Some(here) = queue.pop() {
            let here = here as usize;
            let (Some(&first), Some(&last)) = (self.starts.get(here), self.starts.get(here + 1))
            else {
                continue;
            };
            for &(before, forced) in self.before.get(first..last).unwrap_or_default() {
                if (by_force || !forced)
                    && let Some(known) = reached.get_mut(before as usize)
                    && !*known
                {
                    *known = true;
                    queue.push(before);
                }
            }
        }
        reached
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
