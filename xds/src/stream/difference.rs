//! What one type owes its client, cut from one snapshot.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Transport,
    order::Phase,
    substream::{Known, Outgoing, Standing, Substream},
};
use crate::resource::{Resource, ResourceSet, Version, version_of};

/// What a step of the order finds.
#[derive(Debug)]
pub(super) enum Taken {
    Nothing,
    /// Content is ready, and may not go before other types are acknowledged.
    Blocked,
    Send {
        outgoing: Outgoing,
        whole: Version,
    },
}

/// The differences between what the client has and what it must have.
#[derive(Debug, Default)]
struct Difference {
    upserts: Vec<Resource>,
    /// Names that were asked for and do not exist.
    missing: Vec<Arc<str>>,
    removals: Vec<Arc<str>>,
    /// To be sent one by one.
    suspects: Vec<Suspect>,
}

#[derive(Debug)]
enum Suspect {
    Upsert(Resource),
    Removal(Arc<str>),
}

impl Substream {
    /// What may go out in `phase`; `open` says whether the types that this step waits for are
    /// acknowledged. Nothing may be in flight.
    pub(super) fn take(&mut self, set: &ResourceSet, phase: Phase, open: bool) -> Taken {
        let taken = if self.is_whole() {
            self.take_whole(set, phase, open)
        } else {
            self.take_part(set, phase, open)
        };
        if matches!(taken, Taken::Nothing) && phase.removes() {
            self.blocked_since = None;
            self.settle(set);
        }
        taken
    }

    fn take_part(&mut self, set: &ResourceSet, phase: Phase, open: bool) -> Taken {
        let difference = self.difference(set);
        let Some(outgoing) = self.choose(difference, phase, open) else {
            return Taken::Nothing;
        };
        if !open && !outgoing.is_empty() {
            return Taken::Blocked;
        }
        Taken::Send {
            outgoing,
            whole: set.version(),
        }
    }

    /// One response: everything at once, then what is under suspicion, one by one.
    fn choose(&self, found: Difference, phase: Phase, open: bool) -> Option<Outgoing> {
        let Difference {
            upserts,
            missing,
            removals,
            suspects,
        } = found;
        let removes = !removals.is_empty();
        let mut outgoing = Outgoing::default();
        if phase.upserts() {
            outgoing.changed.clone_from(&upserts);
            outgoing.resources = upserts;
            outgoing.removed = missing;
        }
        if phase.removes() && (open || phase != Phase::Remove || !self.answer_owed) {
            outgoing.removed.extend(removals);
        }
        if !outgoing.is_empty() {
            return Some(outgoing);
        }
        for suspect in suspects {
            match suspect {
                Suspect::Upsert(resource) if phase.upserts() => {
                    outgoing.changed.push(resource.clone());
                    outgoing.resources.push(resource);
                    return Some(outgoing);
                }
                Suspect::Removal(name) if phase.removes() => {
                    outgoing.removed.push(name);
                    return Some(outgoing);
                }
                Suspect::Upsert(_) | Suspect::Removal(_) => {}
            }
        }
        // An empty answer is left to the removals, if there are any, so that one response
        // does for both.
        let later = phase == Phase::Upsert && removes;
        (self.answer_owed && !later).then_some(outgoing)
    }

    fn difference(&mut self, set: &ResourceSet) -> Difference {
        self.forget_outdated(set);
        let mut found = Difference::default();
        if self.subscription.is_wildcard() {
            for resource in set.iter() {
                self.compare(resource, &mut found);
            }
        } else {
            for name in self.subscription.names() {
                if let Some(resource) = set.get(name) {
                    self.compare(resource, &mut found);
                }
            }
        }
        if self.transport == Transport::Delta {
            self.compare_absent(set, &mut found);
        }
        found
    }

    fn compare(&self, resource: &Resource, found: &mut Difference) {
        let name = resource.name();
        let version = Some(resource.version());
        if !self.owed.contains(name) {
            let known = self.known.get(name).and_then(|known| known.version);
            if known == version || self.rejected.names.get(name) == Some(&version) {
                return;
            }
        }
        if self.rejected.suspects.get(name) == Some(&version) {
            found.suspects.push(Suspect::Upsert(resource.clone()));
        } else {
            found.upserts.push(resource.clone());
        }
    }

    fn compare_absent(&self, set: &ResourceSet, found: &mut Difference) {
        for name in &self.owed {
            if set.get(name).is_none() {
                found.missing.push(Arc::clone(name));
            }
        }
        for name in self.known.keys() {
            if set.get(name).is_some()
                || self.owed.contains(name)
                || self.rejected.names.get(name) == Some(&None)
            {
                continue;
            }
            if self.rejected.suspects.get(name) == Some(&None) {
                found.suspects.push(Suspect::Removal(Arc::clone(name)));
            } else {
                found.removals.push(Arc::clone(name));
            }
        }
        found.removals.sort_unstable();
    }

    /// A refusal holds for the content that was refused, no longer. In state of the world,
    /// where only clusters and listeners can be taken away, a name that has vanished is
    /// forgotten, so that its return is sent.
    fn forget_outdated(&mut self, set: &ResourceSet) {
        let current = |name: &Arc<str>| set.get(name).map(Resource::version);
        let rejected = &mut self.rejected;
        rejected
            .names
            .retain(|name, version| current(name) == *version);
        rejected
            .suspects
            .retain(|name, version| current(name) == *version);
        if self.transport == Transport::StateOfTheWorld {
            self.known.retain(|name, _| set.get(name).is_some());
            self.owed.retain(|name| set.get(name).is_some());
        }
    }

    /// State of the world, clusters and listeners: a response holds everything that is
    /// subscribed, and what is absent is deleted. What is to be deleted is therefore sent
    /// along for as long as other types may refer to it.
    fn take_whole(&mut self, set: &ResourceSet, phase: Phase, open: bool) -> Taken {
        self.recognise(set);
        let mut content: BTreeMap<Arc<str>, Resource> = BTreeMap::new();
        let mut changed = Vec::new();
        for resource in set.iter().filter(|r| self.subscription.covers(r.name())) {
            let known = self.known.get(resource.name());
            if known.and_then(|known| known.version) != Some(resource.version()) {
                changed.push(resource.clone());
            }
            content.insert(Arc::clone(resource.name()), resource.clone());
        }
        let mut departing = Vec::new();
        let mut doubtful = false;
        for (name, known) in &self.known {
            if content.contains_key(name) {
                continue;
            }
            match known {
                Known {
                    version: Some(_),
                    resource: Some(resource),
                } => {
                    departing.push(resource.clone());
                }
                // Refused once, beside others: it must not go out again for order's sake.
                Known { .. } => doubtful = true,
            }
        }
        let changes = doubtful || !changed.is_empty();
        let due = match phase {
            Phase::Upsert => changes || (self.answer_owed && departing.is_empty()),
            Phase::Both => changes || !departing.is_empty() || self.answer_owed,
            // Changes that are still due here were refused; they do not go out as removals.
            Phase::Remove => !departing.is_empty() && !changes,
        };
        if !due {
            return Taken::Nothing;
        }
        if phase == Phase::Upsert {
            for resource in departing {
                content.insert(Arc::clone(resource.name()), resource);
            }
        }
        let whole = version_of(content.values());
        if self.rejected.whole == Some(whole) && !self.answer_owed {
            return Taken::Nothing;
        }
        if !open {
            return Taken::Blocked;
        }
        let outgoing = Outgoing {
            resources: content.into_values().collect(),
            removed: Vec::new(),
            changed,
        };
        Taken::Send { outgoing, whole }
    }

    /// A client that comes back and subscribes to everything has what it says, if that is the
    /// version of all there is. Of a client that names its resources the version tells nothing:
    /// it may name others than before.
    /// <https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#ack-and-resource-type-instance-version>
    fn recognise(&mut self, set: &ResourceSet) {
        let Some(claimed) = self.claimed.take() else {
            return;
        };
        if !self.subscription.is_wildcard() || claimed != version_of(set.iter()) {
            return;
        }
        for resource in set.iter() {
            let known = Known {
                version: Some(resource.version()),
                resource: Some(resource.clone()),
            };
            self.known.insert(Arc::clone(resource.name()), known);
        }
        self.answer_owed = false;
    }

    /// Nothing is left to send: either the client has everything, or it has refused the rest.
    fn settle(&mut self, set: &ResourceSet) {
        let refused = if self.is_whole() {
            // Unless the whole was refused, it would have been sent.
            set.iter()
                .filter(|resource| self.subscription.covers(resource.name()))
                .any(|resource| {
                    let known = self.known.get(resource.name());
                    known.and_then(|known| known.version) != Some(resource.version())
                })
                || self.known.keys().any(|name| set.get(name).is_none())
        } else {
            !self.rejected.names.is_empty()
        };
        self.standing = if refused {
            Standing::Refused(set.version())
        } else {
            Standing::Settled(set.version())
        };
    }
}

impl Outgoing {
    fn is_empty(&self) -> bool {
        self.resources.is_empty() && self.removed.is_empty()
    }
}
