//! Resources with a time to live: the client must hear of each before that is over, or it drops
//! it.
//! <https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#ttl>

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    Response,
    open::Known,
    substream::{InFlight, Substream, SyncState},
};
use crate::{
    published::PublishedSnapshot,
    resource::{Resource, Version},
};

impl Substream {
    /// `resources` are sent now.
    pub(super) fn schedule_beat(&mut self, resources: &[Resource], now: Instant) {
        let next = half_of_shortest(resources).map(|half| now + half);
        self.beat = match (self.beat, next) {
            (Some(beat), Some(next)) => Some(beat.min(next)),
            (beat, next) => beat.or(next),
        };
    }

    /// Nothing is left to send, and nothing may have been sent: a client that comes back keeps
    /// what it has, and its times to live run on.
    pub(super) fn plan_beat(&mut self, now: Instant) {
        if self.beat.is_none() {
            self.beat = half_of_shortest(&self.living()).map(|half| now + half);
        }
    }

    /// State of the world, types that are sent whole: a response without the bodies would delete
    /// them, so everything is sent again. Refused content is not.
    pub(super) fn renew_full_state(&mut self, now: Instant) {
        if self.is_full_state() && self.is_beat_due(now) {
            self.beat = None;
            if self.sync_state == SyncState::Synced {
                self.answer_owed = true;
                self.sync_state = SyncState::Pending;
            }
        }
    }

    /// The sign of life for everything that has a time to live and that the client has.
    pub(super) fn heartbeat(
        &mut self,
        published: &PublishedSnapshot,
        instance: &Arc<str>,
        now: Instant,
    ) -> Option<Response> {
        if self.is_full_state() || !self.is_beat_due(now) {
            return None;
        }
        let resources = self.living();
        self.beat = half_of_shortest(&resources).map(|half| now + half);
        if resources.is_empty() {
            return None;
        }
        self.in_flight = Some(InFlight::heartbeat());
        Some(Response {
            kind: self.kind,
            nonce: self.number(published, instance, now),
            version: self.version().unwrap_or(Version::EMPTY),
            resources: resources.into(),
            removed: Vec::new(),
            absent: Vec::new(),
            heartbeat: true,
            ttl: true,
        })
    }

    fn is_beat_due(&self, now: Instant) -> bool {
        self.in_flight.is_none() && self.beat.is_some_and(|beat| beat <= now)
    }

    fn living(&self) -> Vec<Resource> {
        let Some(base) = self.base.as_ref().filter(|base| base.has_ttls()) else {
            return Vec::new();
        };
        let mortal = base.iter().filter(|resource| resource.ttl().is_some());
        let mortal = mortal.filter(|resource| self.subscription.covers(resource.name()));
        mortal.filter_map(|resource| self.alive(resource)).collect()
    }

    /// What the client has under the name of `resource`: this, or what it kept when it refused
    /// this.
    fn alive(&self, resource: &Resource) -> Option<Resource> {
        match self.open.get(resource.name()).map(|entry| &entry.known) {
            None => Some(resource.clone()),
            Some(Known::Version(kept)) => Some(resource.in_version(*kept)),
            Some(Known::Resource(kept)) => Some(kept.clone()),
            Some(Known::Nothing | Known::Unknown | Known::Claimed) => None,
        }
    }
}

impl InFlight {
    fn heartbeat() -> Self {
        Self {
            resources: Arc::default(),
            removed: Box::default(),
            void: BTreeSet::new(),
            version: Version::EMPTY,
            outdated: false,
            overdue: false,
            heartbeat: true,
        }
    }
}

/// A heartbeat may be late, and one may be lost with a connection that breaks.
fn half_of_shortest(resources: &[Resource]) -> Option<Duration> {
    let ttls = resources.iter().filter_map(Resource::ttl);
    ttls.min().map(|shortest| shortest / 2)
}
