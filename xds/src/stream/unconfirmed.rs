//! Resources that a client may have although it never acknowledged them: the content of responses
//! that it NACKed as a batch or never answered. On its next stream the client reports only what it
//! accepted, so the fleet keeps this information between two streams.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    TypeStatus,
    client_state::ClientState,
    in_flight::InFlight,
    unsettled::{Known, NackMark, NameState},
};
use crate::resource::{Resource, ResourceType};

/// The unconfirmed resources of one type.
#[derive(Clone, Debug, Default)]
pub(crate) struct UnconfirmedResources {
    /// The client may have anything: what it claims to have says nothing.
    pub(crate) claims_untrusted: bool,
    /// Names under which the client may have something that it does not report, or something else
    /// than it reports.
    pub(crate) names: Arc<[Arc<str>]>,
}

/// The unconfirmed resources of all types.
#[derive(Clone, Debug, Default)]
pub(crate) struct UnconfirmedByType([UnconfirmedResources; ResourceType::ALL.len()]);

impl UnconfirmedResources {
    /// What remains unconfirmed if the stream ends now.
    pub(super) fn at_end(
        client: &ClientState,
        in_flight: Option<&InFlight>,
        claims_untrusted: bool,
    ) -> Self {
        let in_flight = in_flight.filter(|sent| !sent.heartbeat);
        let UnsureNames { served, claimed } = UnsureNames::of(client, in_flight);
        if client.is_full_state() {
            let unsure = in_flight.is_some() || !(served.is_empty() && claimed.is_empty());
            return Self {
                claims_untrusted: claims_untrusted || unsure,
                ..Self::default()
            };
        }
        let size: usize = claimed.iter().map(|name| name.len()).sum();
        let too_many = size > MAX_CLAIMED_BYTES;
        Self {
            claims_untrusted: claims_untrusted || too_many,
            names: if too_many {
                served.into()
            } else {
                [served, claimed].concat().into()
            },
        }
    }

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

    pub(crate) fn set(&mut self, kind: ResourceType, resources: UnconfirmedResources) {
        self.0[kind.index()] = resources;
    }

    pub(crate) fn distrust_claims(&mut self, kind: ResourceType) {
        self.0[kind.index()].claims_untrusted = true;
    }

    /// The unconfirmed resources after a stream has ended.
    ///
    /// - `before`: those from before the stream.
    /// - `types`: the types that the stream had.
    /// - `left`: those that the stream added for these types.
    /// - `informed`: the stream knew `before` and settled it, so that `left` replaces it.
    pub(crate) fn after(
        before: Option<Box<Self>>,
        types: &[TypeStatus],
        left: Option<Box<Self>>,
        informed: bool,
    ) -> Option<Box<Self>> {
        if before.is_none() && left.is_none() {
            return None;
        }
        let (mut all, left) = (before.unwrap_or_default(), left.unwrap_or_default());
        for TypeStatus { kind, .. } in types {
            if informed {
                all.set(*kind, left.of(*kind).clone());
            } else {
                all.0[kind.index()].join(left.of(*kind));
            }
        }
        let any = all.0.iter().any(|of_type| !of_type.is_empty());
        any.then_some(all)
    }
}

/// Names for which it is not known what the client has.
struct UnsureNames {
    /// Names of resources that were served. The client may have them and not report it.
    served: Vec<Arc<str>>,
    /// Names that the client reports by itself if it has them.
    claimed: Vec<Arc<str>>,
}

impl UnsureNames {
    fn of(client: &ClientState, in_flight: Option<&InFlight>) -> Self {
        let sent = in_flight.into_iter().flat_map(|sent| &*sent.resources);
        let mut served: Vec<_> = sent.map(|sent| Arc::clone(Resource::name(sent))).collect();
        let removed = in_flight.into_iter().flat_map(|sent| &*sent.removed);
        let may_exist = |name: &&Arc<str>| client.unsettled(name).is_some_and(NameState::may_exist);
        let mut claimed: Vec<_> = removed.filter(may_exist).cloned().collect();
        for (name, state) in client.unsettled_names() {
            match (state.nack, &state.known) {
                (NackMark::InBatch(None), _) | (_, Known::Claimed) => {
                    claimed.push(Arc::clone(name));
                }
                (NackMark::InBatch(Some(_)), _) | (_, Known::Unknown) => {
                    served.push(Arc::clone(name));
                }
                (NackMark::None | NackMark::Alone(_), _) => {}
            }
        }
        Self { served, claimed }
    }
}

/// How many bytes of claimed names are kept. A client may make up such names. Above the limit its
/// claims are ignored instead, which is as safe. Names of served resources are kept without a
/// limit: the client does not report them.
const MAX_CLAIMED_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joined_names_occur_once() {
        let unconfirmed = |names: &[&str]| UnconfirmedResources {
            claims_untrusted: false,
            names: names.iter().map(|name| Arc::from(*name)).collect(),
        };
        let mut both = unconfirmed(&["a", "b"]);
        both.join(&unconfirmed(&["b", "c"]));
        assert_eq!(both.names, unconfirmed(&["a", "b", "c"]).names);
    }
}
