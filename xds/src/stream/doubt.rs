//! What a client may have although it never said so: content of responses that it refused beside
//! others or never answered. On its next stream it tells of what it accepted alone, so the fleet
//! keeps this for it in between.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    TypeStatus,
    open::{Entry, Known, Verdict},
    substream::{InFlight, Standing, Substream},
};
use crate::resource::{Resource, ResourceType};

/// Of one type.
#[derive(Clone, Debug, Default)]
pub(crate) struct Doubt {
    /// Nothing that the client says it has counts.
    pub(crate) all: bool,
    /// What may be there unsaid, or not be what the client says.
    pub(crate) names: Arc<[Arc<str>]>,
}

/// By type.
#[derive(Clone, Debug, Default)]
pub(crate) struct Doubts([Doubt; ResourceType::ALL.len()]);

impl Doubt {
    pub(crate) fn is_none(&self) -> bool {
        !self.all && self.names.is_empty()
    }

    fn join(&mut self, other: &Self) {
        self.all |= other.all;
        if !other.names.is_empty() {
            let names: BTreeSet<_> = self.names.iter().chain(&*other.names).cloned().collect();
            self.names = names.into_iter().collect();
        }
    }
}

impl Doubts {
    pub(crate) fn of(&self, kind: ResourceType) -> &Doubt {
        &self.0[kind.index()]
    }

    pub(crate) fn set(&mut self, kind: ResourceType, doubt: Doubt) {
        self.0[kind.index()] = doubt;
    }

    /// Nothing that the client says of a type counts, beside what is doubted already.
    pub(crate) fn distrust(&mut self, kind: ResourceType) {
        self.0[kind.index()].all = true;
    }

    /// `before` and, for the types that a stream had, what it `left` behind. A stream that was
    /// `informed` of what was before has done with it.
    pub(crate) fn after(
        before: Option<Box<Self>>,
        had: &[TypeStatus],
        left: Option<Box<Self>>,
        informed: bool,
    ) -> Option<Box<Self>> {
        if before.is_none() && left.is_none() {
            return None;
        }
        let (mut doubts, left) = (before.unwrap_or_default(), left.unwrap_or_default());
        for TypeStatus { kind, .. } in had {
            if informed {
                doubts.set(*kind, left.of(*kind).clone());
            } else {
                doubts.0[kind.index()].join(left.of(*kind));
            }
        }
        let any = doubts.0.iter().any(|doubt| !doubt.is_none());
        any.then_some(doubts)
    }
}

impl Substream {
    pub(super) fn doubt(&self) -> Doubt {
        let in_flight = self.in_flight.as_ref().filter(|sent| !sent.heartbeat);
        let mut doubt = Doubt {
            all: self.doubted && self.standing != Standing::Settled,
            ..Doubt::default()
        };
        let (taken, claimed) = self.unsure(in_flight);
        if self.is_whole() {
            doubt.all |= in_flight.is_some() || !(taken.is_empty() && claimed.is_empty());
            return doubt;
        }
        let size: usize = claimed.iter().map(|name| name.len()).sum();
        doubt.all |= size > CLAIMED;
        doubt.names = if size > CLAIMED {
            taken.into()
        } else {
            [taken, claimed].concat().into()
        };
        doubt
    }

    /// The names under which the client may have taken something of ours, and those that it
    /// will tell of by itself if it has them.
    fn unsure(&self, in_flight: Option<&InFlight>) -> (Vec<Arc<str>>, Vec<Arc<str>>) {
        let sent = in_flight.into_iter().flat_map(|sent| &*sent.resources);
        let mut taken: Vec<_> = sent.map(|sent| Arc::clone(Resource::name(sent))).collect();
        let removed = in_flight.into_iter().flat_map(|sent| &*sent.removed);
        let had = removed.filter(|name| self.open.get(name).is_some_and(Entry::may_be_there));
        let mut claimed: Vec<_> = had.cloned().collect();
        for (name, entry) in self.open.iter() {
            match (entry.verdict, &entry.known) {
                (Verdict::Suspect(None), _) | (_, Known::Claimed) => claimed.push(Arc::clone(name)),
                (Verdict::Suspect(Some(_)), _) | (_, Known::Unknown) => {
                    taken.push(Arc::clone(name));
                }
                (Verdict::None | Verdict::Refused(_), _) => {}
            }
        }
        (taken, claimed)
    }
}

/// In bytes: of names that a client may have made up, so many are kept for it. Above that
/// nothing counts of what it says, which does as well. The others are names of resources that
/// were served: all of them are needed, since nobody else tells of them.
const CLAIMED: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_doubted_twice_is_kept_once() {
        let doubt = |names: &[&str]| Doubt {
            all: false,
            names: names.iter().map(|name| Arc::from(*name)).collect(),
        };
        let mut both = doubt(&["a", "b"]);
        both.join(&doubt(&["b", "c"]));
        assert_eq!(both.names, doubt(&["a", "b", "c"]).names);
    }
}
