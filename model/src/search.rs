//! A search that numbers worlds in the order in which it comes to them, and remembers how.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasherDefault, Hasher},
};

use crate::{action::Action, world::World};

/// A world's number.
pub(crate) type Index = u32;

/// Worlds by their fingerprint.
type Numbers = HashMap<u64, Index, BuildHasherDefault<Identity>>;

/// How a world was first come to.
#[derive(Clone, Copy, Debug)]
struct Origin {
    /// `ROOT`: it is where a search begins.
    parent: Index,
    action: u8,
}

/// What can follow a world.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Successor {
    pub(crate) number: Index,
    /// An operator takes a server down for that.
    pub(crate) by_force: bool,
}

/// Worlds, each with its number.
#[derive(Debug, Default)]
pub(crate) struct Search {
    numbers: Numbers,
    origins: Vec<Origin>,
    /// What happened between two searches, by action.
    pub(crate) transitions: usize,
}

impl Search {
    pub(crate) fn len(&self) -> usize {
        self.origins.len()
    }

    /// Numbers a world to begin with, and whether it is new.
    pub(crate) fn root(&mut self, world: &World) -> (Index, bool) {
        self.number(world, ROOT, 0)
    }

    fn number(&mut self, world: &World, parent: Index, action: u8) -> (Index, bool) {
        let next = Index::try_from(self.origins.len()).unwrap_or(ROOT);
        let number = *self.numbers.entry(world.fingerprint()).or_insert(next);
        let new = number == next;
        if new {
            self.origins.push(Origin { parent, action });
        }
        (number, new)
    }

    /// Numbers all that can follow `world`, and queues what is new.
    pub(crate) fn expand(
        &mut self,
        world: &World,
        parent: Index,
        actions: &[Action],
        queue: &mut VecDeque<World>,
        mut follows: impl FnMut(Successor),
    ) {
        for (action, &happens) in (0_u8..).zip(actions) {
            let Some(next) = world.after(happens) else {
                continue;
            };
            self.transitions += 1;
            let (number, new) = self.number(&next, parent, action);
            if new {
                queue.push_back(next);
            }
            follows(Successor {
                number,
                by_force: matches!(happens, Action::OperatorTakesDown(_)),
            });
        }
    }

    pub(crate) fn depth(&self) -> usize {
        let mut depths: Vec<u16> = Vec::with_capacity(self.origins.len());
        for origin in &self.origins {
            let parent = depths.get(origin.parent as usize);
            depths.push(parent.map_or(0, |depth| depth + 1));
        }
        depths.last().map_or(0, |&depth| usize::from(depth))
    }

    /// Where the search began that came to a world, and what happened from there on.
    pub(crate) fn way_to(&self, to: Index, actions: &[Action]) -> (Index, Vec<Action>) {
        let mut taken = Vec::new();
        let mut here = to;
        while let Some(origin) = self.origins.get(here as usize)
            && origin.parent != ROOT
        {
            taken.extend(actions.get(usize::from(origin.action)).copied());
            here = origin.parent;
        }
        taken.reverse();
        (here, taken)
    }
}

const ROOT: Index = Index::MAX;

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
