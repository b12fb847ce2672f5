//! What an ACK or a NACK says about the resources that a client has.

use std::sync::Arc;

use super::ClientState;
use crate::{
    resource::{Resource, Version},
    stream::{
        in_flight::InFlight,
        unsettled::{Known, NackMark, NameState},
    },
};

impl ClientState {
    /// The client has acknowledged a response.
    pub(in crate::stream) fn acknowledge(&mut self, in_flight: &InFlight) {
        if self.full_state {
            self.acknowledge_full_state(&in_flight.resources);
        } else {
            self.acknowledge_changes(in_flight);
        }
    }

    /// The client has NACKed a response with one resource, or one removal.
    pub(in crate::stream) fn nack_one(&mut self, name: &Arc<str>, version: Option<Version>) {
        if !self.full_state && self.wants(name) {
            self.unsettle(name).nack = NackMark::Alone(version);
        }
    }

    /// The client has NACKed a response with several resources or removals. It may have applied the
    /// valid ones, so what it has is unknown for each.
    pub(in crate::stream) fn nack_batch(&mut self, content: &[(&Arc<str>, Option<Version>)]) {
        for (name, version) in content {
            if !self.wants(name) {
                continue;
            }
            let full_state = self.full_state;
            let state = self.unsettle(name);
            state.known = Known::Unknown;
            if !full_state {
                state.nack = NackMark::InBatch(*version);
            }
        }
    }

    /// The client has NACKed a response that carried the full state. What the response did not
    /// hold may be gone: Envoy removes before it adds.
    pub(in crate::stream) fn nack_full_state(&mut self, content: &[Resource]) {
        for (name, state) in self.unsettled.iter_mut() {
            let is_absent = content
                .binary_search_by(|resource| resource.name().cmp(name))
                .is_err();
            if is_absent && state.may_exist() {
                state.known = Known::Unknown;
            }
        }
    }

    fn acknowledge_changes(&mut self, in_flight: &InFlight) {
        let InFlight {
            resources,
            removed,
            voided,
            ..
        } = in_flight;
        let accepted = resources
            .iter()
            .map(|resource| (resource.name(), Known::of(resource, false)));
        let gone = removed.iter().map(|name| (name, Known::Nothing));
        for (name, known) in accepted.chain(gone) {
            if !self.wants(name) {
                continue;
            }
            if voided.contains(name) {
                // If the name was unsubscribed and subscribed again, it has no state yet.
                self.unsettled.get_or_insert_with(name, NameState::unknown);
            } else {
                let state = self.unsettle(name);
                state.known = known;
                state.nack = NackMark::None;
            }
        }
    }

    /// The client has what was sent, and nothing else.
    fn acknowledge_full_state(&mut self, content: &[Resource]) {
        let wanted = |resource: &Resource| self.wants(resource.name());
        self.has_leftovers = !content.iter().all(wanted);
        for (name, state) in self.unsettled.iter_mut() {
            let sent = content.binary_search_by(|resource| resource.name().cmp(name));
            state.known = sent.map_or(Known::Nothing, |at| Known::Resource(content[at].clone()));
        }
        for resource in content {
            let name = resource.name();
            let current = self.newest(name).map(Resource::version);
            if current != Some(resource.version()) && self.wants(name) {
                self.unsettle(name).known = Known::Resource(resource.clone());
            }
        }
    }
}
