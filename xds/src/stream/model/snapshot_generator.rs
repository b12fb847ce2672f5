//! Generates snapshots by random choices. Some of their resources are NACKed by every client.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::Choices;
use crate::{
    fixture::{assignment, eds_cluster, opaque},
    resource::{
        Resource,
        ResourceType::{self, Cluster, Endpoints, Listener, Runtime, VirtualHost},
        Version,
    },
    snapshot::Snapshot,
};

pub(super) const KINDS: [ResourceType; 5] = [Cluster, Endpoints, Listener, VirtualHost, Runtime];

/// The last one is never served.
pub(super) const NAMES: [&str; 4] = ["a", "b", "c", "missing"];

const SERVED: usize = 3;

/// The content with this number is NACKed by every client.
const BAD: u32 = 3;

#[derive(Debug)]
pub(super) struct SnapshotGenerator {
    made: HashMap<(ResourceType, usize, u32), Resource>,
    bad: HashSet<Version>,
    /// By type and name: the number of the current content.
    now: BTreeMap<(ResourceType, usize), u32>,
    /// By type: the last content without anything bad.
    sound: BTreeMap<ResourceType, Vec<(usize, u32)>>,
    former: Option<Snapshot>,
}

impl SnapshotGenerator {
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
            sound: BTreeMap::new(),
            former: None,
        }
    }

    /// Changes some resources; returns the next snapshot.
    pub(super) fn turn(&mut self, choices: &mut impl Choices) -> Snapshot {
        self.note_sound();
        let one = KINDS[choices.below(KINDS.len())];
        if choices.once_in(3) {
            let bad = self.now.iter().filter(|(_, number)| **number == BAD);
            let bad: Vec<_> = bad.map(|((kind, _), _)| *kind).collect();
            let some = choices.below(bad.len().max(1));
            self.restore(bad.get(some).copied().unwrap_or(one));
            return self.snapshot(choices);
        }
        // Often of one type, so that several changes of it meet.
        let mixed = choices.once_in(2);
        for _ in 0..=choices.below(4) {
            let kind = if mixed {
                KINDS[choices.below(KINDS.len())]
            } else {
                one
            };
            let place = (kind, choices.below(SERVED));
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

    fn note_sound(&mut self) {
        for kind in KINDS {
            let all = self.now.iter().filter(|((of, _), _)| *of == kind);
            let all: Vec<_> = all.map(|((_, name), number)| (*name, *number)).collect();
            if all.iter().all(|(_, number)| *number != BAD) {
                self.sound.insert(kind, all);
            }
        }
    }

    /// Restores the last content of a type without anything bad.
    fn restore(&mut self, kind: ResourceType) {
        self.now.retain(|(of, _), _| *of != kind);
        let sound = self.sound.get(&kind).into_iter().flatten();
        self.now
            .extend(sound.map(|(name, number)| ((kind, *name), *number)));
    }

    fn snapshot(&mut self, choices: &mut impl Choices) -> Snapshot {
        let all = self.now.iter();
        let resources =
            all.map(|((kind, name), number)| self.made[&(*kind, *name, *number)].clone());
        let resources: Vec<_> = resources.collect();
        // Built on the former snapshot, or from scratch: both must give the same result.
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
