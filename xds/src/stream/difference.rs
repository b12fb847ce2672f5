//! What a response must carry that holds changes only. The cost depends on the number of unsettled
//! names.

use std::sync::Arc;

use super::{
    Transport,
    client_state::ClientState,
    order::Phase,
    outgoing::Outgoing,
    retry_queue::NackedBatch,
    unsettled::{Known, NackMark, NameState},
};
use crate::resource::{Resource, ResourceType};

/// The differences between what the client has and what it must have.
#[derive(Debug, Default)]
pub(super) struct Difference {
    upserts: Vec<Resource>,
    removals: Vec<Arc<str>>,
    /// Names that the client asked for and that do not exist.
    missing: Vec<Arc<str>>,
    /// The same, of a type for which the client waits until it is told of the absence.
    absent: Vec<Arc<str>>,
    /// Names that must be sent one by one.
    nacked_batch: NackedBatch,
}

/// What is sent of a [`Difference`] in one phase.
#[derive(Debug)]
pub(super) enum Selection {
    /// Everything that may be sent in one response.
    Together(Outgoing),
    /// Nothing but names that must be sent one by one, if any.
    OneByOne {
        batch: NackedBatch,
        /// An empty answer, if one must be sent in this phase.
        empty_answer: Option<Outgoing>,
    },
}

impl Difference {
    /// Compares what the client has with the newest snapshot. Names that are equal are settled.
    pub(super) fn of(client: &mut ClientState, kind: ResourceType, transport: Transport) -> Self {
        let mut found = Self::default();
        client.retain_unsettled(|name, newest, state| {
            state.forget_outdated_nack(newest.map(Resource::version));
            match newest {
                Some(resource) => found.compare(resource, state),
                // A name that no longer exists is forgotten, so that it is sent when it returns.
                None if transport == Transport::StateOfTheWorld => false,
                None => found.compare_absent(kind, name, state),
            }
        });
        found
    }

    /// Selects what is sent in `phase`. `open` tells whether the types that this step waits for are
    /// acknowledged.
    pub(super) fn select(self, phase: Phase, open: bool, answer_owed: bool) -> Selection {
        let Self {
            upserts,
            removals,
            missing,
            absent,
            nacked_batch,
        } = self;
        let removes = !removals.is_empty();
        let mut outgoing = Outgoing {
            incomplete: !nacked_batch.is_empty(),
            ..Outgoing::default()
        };
        if phase.upserts() {
            outgoing.resources = upserts;
            outgoing.removed = missing;
            outgoing.absent = absent;
        }
        if phase.removes() && (open || phase != Phase::Remove || !answer_owed) {
            outgoing.removed.extend(removals);
        }
        if !outgoing.is_empty() {
            return Selection::Together(outgoing);
        }
        // If removals follow, their response serves as the answer.
        let answers_later = phase == Phase::Upsert && removes;
        Selection::OneByOne {
            batch: nacked_batch,
            empty_answer: (answer_owed && !answers_later).then_some(outgoing),
        }
    }

    /// Returns whether the name stays unsettled.
    fn compare(&mut self, resource: &Resource, state: &NameState) -> bool {
        if !state.owed {
            if state.known.is(resource.version()) {
                return false;
            }
            if matches!(state.nack, NackMark::Alone(_)) {
                return true;
            }
        }
        if matches!(state.nack, NackMark::InBatch(_)) {
            self.nacked_batch.upserts.push(Arc::clone(resource.name()));
        } else {
            self.upserts.push(resource.clone());
        }
        true
    }

    /// Returns whether the name stays unsettled.
    fn compare_absent(&mut self, kind: ResourceType, name: &Arc<str>, state: &NameState) -> bool {
        let has_nothing = matches!(state.known, Known::Nothing);
        if state.owed {
            let names = if has_nothing && kind.is_on_demand() {
                &mut self.absent
            } else {
                &mut self.missing
            };
            names.push(Arc::clone(name));
            return true;
        }
        if has_nothing {
            return false;
        }
        match state.nack {
            NackMark::None => self.removals.push(Arc::clone(name)),
            NackMark::InBatch(_) => self.nacked_batch.removals.push(Arc::clone(name)),
            NackMark::Alone(_) => {}
        }
        true
    }
}
