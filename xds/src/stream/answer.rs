//! The client's answer to a response: the only thing that moves what it is known to have.

use std::sync::Arc;

use tokio::time::Instant;

use super::{
    Acknowledged, Nack, Reply,
    open::{Entry, Known, NackMark},
    substream::{InFlight, Substream, SyncState},
};
use crate::resource::Resource;

impl Substream {
    /// Enters an answer. One to anything but the response in flight says nothing about content.
    /// `instance` is the server's.
    pub(super) fn answer(&mut self, reply: &Reply, instance: &str, now: Instant) -> bool {
        if !self.is_latest(&reply.nonce, instance) {
            return false;
        }
        let Some(in_flight) = self.in_flight.take() else {
            return false;
        };
        if in_flight.heartbeat {
            // It carried nothing that could be had or refused.
            return true;
        }
        self.sync_state = SyncState::Pending;
        match &reply.error {
            None => self.acknowledge(&in_flight, now),
            Some(message) => self.refuse(&in_flight, message, now),
        }
        true
    }

    fn acknowledge(&mut self, in_flight: &InFlight, now: Instant) {
        if self.is_full_state() {
            self.acknowledge_full_state(&in_flight.resources);
        } else {
            self.acknowledge_changes(in_flight);
        }
        self.acknowledged = self.sent.as_ref().map(|sent| Acknowledged {
            version: in_flight.version,
            sequence: sent.sequence,
            at: now,
            after: now.saturating_duration_since(sent.at),
        });
    }

    fn acknowledge_changes(&mut self, in_flight: &InFlight) {
        let InFlight {
            resources,
            removed,
            void,
            ..
        } = in_flight;
        let accepted = resources
            .iter()
            .map(|resource| (resource.name(), Known::of(resource, false)));
        let gone = removed.iter().map(|name| (name, Known::Nothing));
        for (name, known) in accepted.chain(gone) {
            if !self.subscription.covers(name) {
                continue;
            }
            if void.contains(name) {
                // Given up meanwhile and asked for again, it may be there nevertheless.
                self.open.entry(name, Entry::unknown);
            } else {
                let entry = self.entry(name);
                entry.known = known;
                entry.nack = NackMark::None;
            }
        }
    }

    /// What the client has is what was sent, and nothing else.
    fn acknowledge_full_state(&mut self, content: &[Resource]) {
        self.nacked_full_state = None;
        let wanted = |resource: &Resource| self.subscription.covers(resource.name());
        self.leftovers = !content.iter().all(wanted);
        for (name, entry) in self.open.iter_mut() {
            let sent = content.binary_search_by(|resource| resource.name().cmp(name));
            entry.known = sent.map_or(Known::Nothing, |at| Known::Resource(content[at].clone()));
        }
        for resource in content {
            let name = resource.name();
            let current = self.get(name).map(Resource::version);
            if current != Some(resource.version()) && self.subscription.covers(name) {
                self.entry(name).known = Known::Resource(resource.clone());
            }
        }
    }

    /// What a refused whole did not hold may be gone: Envoy takes away before it adds.
    fn mark_absent_unknown(&mut self, content: &[Resource]) {
        for (name, entry) in self.open.iter_mut() {
            let absent = content.binary_search_by(|resource| resource.name().cmp(name));
            if absent.is_err() && !matches!(entry.known, Known::Nothing) {
                entry.known = Known::Unknown;
            }
        }
    }

    /// A refusal covers the response, not its members, and a client may have taken the valid
    /// ones: of several, each is unknown from here on.
    fn refuse(&mut self, in_flight: &InFlight, message: &Arc<str>, now: Instant) {
        let removed = in_flight.removed.iter().map(|name| (name, None));
        let sent = in_flight.resources.iter();
        let content: Vec<_> = sent
            .map(|resource| (resource.name(), Some(resource.version())))
            .chain(removed)
            .collect();
        if let Some(sent) = &self.sent {
            let names = content.iter().map(|(name, _)| *name);
            let nack = Nack::new(self.kind, sent.sequence, now, message, names);
            self.nacked = Some(Arc::new(nack));
        }
        let alone = content.len() == 1;
        let full_state = self.is_full_state();
        if full_state {
            self.nacked_full_state = Some(in_flight.version);
            self.mark_absent_unknown(&in_flight.resources);
            if alone {
                return;
            }
        }
        for (name, version) in content {
            if !self.subscription.covers(name) {
                continue;
            }
            let entry = self.entry(name);
            if alone {
                entry.nack = NackMark::Alone(version);
                continue;
            }
            entry.known = Known::Unknown;
            if !full_state {
                entry.nack = NackMark::InBatch(version);
            }
        }
    }
}
