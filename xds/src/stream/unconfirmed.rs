//! What a client may have although it never said so: content of responses that it refused beside
//! others or never answered. On its next stream it tells of what it accepted alone, so the fleet
//! keeps this for it in between.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    TypeStatus,
    open::{Entry, Known, NackMark},
    substream::{InFlight, Substream, SyncState},
};
use crate::resource::{Resource, ResourceType};

/// Of one type.
#[derive(Clone, Debug, Default)]
pub(crate) struct UnconfirmedResources {
    /// Nothing that the client says it has counts.
    pub(crate) claims_untrusted: bool,
    /// What may be there unsaid, or not be what the client says.
    pub(crate) names: Arc<[Arc<str>]>,
}

/// By type.
#[derive(Clone, Debug, Default)]
pub(crate) struct UnconfirmedByType([UnconfirmedResources; ResourceType::ALL.len()]);

impl UnconfirmedResources {
    pub(crate) fn is_empty(&self) -> bool {
        !self.claims_untrusted && self.names.is_empty()
    }

    fn join(&mut self, other: &Self) {
        self.claims_untrusted |= other.claims_untrusted;
        if !other.names.is_empty() {
            let names: BTreeSet<_> = self.names.iter().chain(&*other.names).cloned().collect();
            self.names = names.into_iter().collect();
        }
    }
}

impl UnconfirmedByType {
    pub(crate) fn of(&self, kind: ResourceType) -> &UnconfirmedResources {
        &self.0[kind.index()]
    }

    pub(crate) fn set(&mut self, kind: ResourceType, unconfirmed: UnconfirmedResources) {
        self.0[kind.index()] = unconfirmed;
    }

    /// Nothing that the client says of a type counts, beside what is unconfirmed already.
    pub(crate) fn distrust_claims(&mut self, kind: ResourceType) {
        self.0[kind.index()].claims_untrusted = true;
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
        let (mut unconfirmed, left) = (before.unwrap_or_default(), left.unwrap_or_default());
        for TypeStatus { kind, .. } in had {
            if informed {
                unconfirmed.set(*kind, left.of(*kind).clone());
            } else {
                unconfirmed.0[kind.index()].join(left.of(*kind));
            }
        }
        let any = unconfirmed.0.iter().any(|of_type| !of_type.is_empty());
        any.then_some(unconfirmed)
    }
}

impl Substream {
    pub(super) fn unconfirmed(&self) -> UnconfirmedResources {
        let in_flight = self.in_flight.as_ref().filter(|sent| !sent.heartbeat);
        let mut unconfirmed = UnconfirmedResources {
            claims_untrusted: self.claims_untrusted && self.sync_state != SyncState::Synced,
            ..UnconfirmedResources::default()
        };
        let (taken, claimed) = self.unsure(in_flight);
        if self.is_full_state() {
            unconfirmed.claims_untrusted |=
                in_flight.is_some() || !(taken.is_empty() && claimed.is_empty());
            return unconfirmed;
        }
        let size: usize = claimed.iter().map(|name| name.len()).sum();
        unconfirmed.claims_untrusted |= size > CLAIMED;
        unconfirmed.names = if size > CLAIMED {
            taken.into()
        } else {
            [taken, claimed].concat().into()
        };
        unconfirmed
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
            match (entry.nack, &entry.known) {
                (NackMark::InBatch(None), _) | (_, Known::Claimed) => {
                    claimed.push(Arc::clone(name));
                }
                (NackMark::InBatch(Some(_)), _) | (_, Known::Unknown) => {
                    taken.push(Arc::clone(name));
                }
                (NackMark::None | NackMark::Alone(_), _) => {}
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
        let unconfirmed = |names: &[&str]| UnconfirmedResources {
            claims_untrusted: false,
            names: names.iter().map(|name| Arc::from(*name)).collect(),
        };
        let mut both = unconfirmed(&["a", "b"]);
        both.join(&unconfirmed(&["b", "c"]));
        assert_eq!(both.names, unconfirmed(&["a", "b", "c"]).names);
    }
}
