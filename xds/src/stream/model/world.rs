//! What is served, and what a client makes of it.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::Choices;
use crate::{
    fixture::{assignment, eds_cluster, opaque},
    resource::{
        Resource,
        ResourceType::{self, Cluster, Endpoints, Listener, Route, Runtime},
        Version,
    },
    snapshot::Snapshot,
};

pub(super) const KINDS: [ResourceType; 5] = [Cluster, Endpoints, Listener, Route, Runtime];

/// One of them is never served.
pub(super) const NAMES: [&str; 4] = ["a", "b", "c", "missing"];

const SERVED: usize = 3;

/// The content of this number is refused by every client.
const BAD: u32 = 3;

#[derive(Debug)]
pub(super) struct World {
    made: HashMap<(ResourceType, usize, u32), Resource>,
    bad: HashSet<Version>,
    /// By type and name: the number of the content that is there now.
    now: BTreeMap<(ResourceType, usize), u32>,
    /// What was there before, for a turn that takes the last one back.
    before: BTreeMap<(ResourceType, usize), u32>,
    former: Option<Snapshot>,
}

impl World {
    pub(super) fn new() -> Self {
        let mut made = HashMap::new();
        let mut bad = HashSet::new();
        for kind in KINDS {
            for (name, text) in NAMES[..SERVED].iter().enumerate() {
                for number in 0..=BAD {
                    let resource = make(kind, text, number);
                    if number == BAD {
                        bad.insert(resource.version());
                    }
                    made.insert((kind, name, number), resource);
                }
            }
        }
        Self {
            made,
            bad,
            now: BTreeMap::new(),
            before: BTreeMap::new(),
            former: None,
        }
    }

    /// Changes some of what is served; returns the next snapshot.
    pub(super) fn turn(&mut self, choices: &mut impl Choices) -> Snapshot {
        if choices.once_in(4) {
            std::mem::swap(&mut self.now, &mut self.before);
            return self.snapshot(choices);
        }
        self.before.clone_from(&self.now);
        // Often of one type, so that several changes of it meet.
        let one = choices.once_in(2).then(|| choices.below(KINDS.len()));
        for _ in 0..=choices.below(4) {
            let kind = one.unwrap_or_else(|| choices.below(KINDS.len()));
            let place = (KINDS[kind], choices.below(SERVED));
            match choices.below(8) {
                0 | 1 => self.now.remove(&place),
                2 => self.now.insert(place, BAD),
                other => {
                    let number = u32::try_from(other).unwrap_or_default() % BAD;
                    self.now.insert(place, number)
                }
            };
        }
        self.snapshot(choices)
    }

    fn snapshot(&mut self, choices: &mut impl Choices) -> Snapshot {
        let all = self.now.iter();
        let resources =
            all.map(|((kind, name), number)| self.made[&(*kind, *name, *number)].clone());
        let resources: Vec<_> = resources.collect();
        // Built on the former one, or anew: either must do.
        let builder = match &self.former {
            Some(former) if choices.below(2) == 0 => {
                let served = |kind| NAMES[..SERVED].iter().map(move |name| (kind, *name));
                let all = KINDS.into_iter().flat_map(served);
                all.fold(former.to_builder(), |builder, (kind, name)| {
                    builder.remove(kind, name)
                })
            }
            Some(_) | None => Snapshot::builder(),
        };
        let snapshot = builder.extend(resources).build();
        let snapshot = snapshot.unwrap_or_else(|error| unreachable!("{error}"));
        self.former = Some(snapshot.clone());
        snapshot
    }

    pub(super) fn is_bad(&self, version: Version) -> bool {
        self.bad.contains(&version)
    }
}

fn make(kind: ResourceType, name: &str, number: u32) -> Resource {
    if kind == Cluster {
        return eds_cluster(name, i64::from(number) + 1);
    }
    if kind == Endpoints {
        return assignment(name, number + 1);
    }
    opaque(kind, name, &number.to_string())
}
