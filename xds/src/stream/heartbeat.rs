//! Resources with a time to live: the client must hear of each before that is over, or it drops
//! it.
//! <https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#ttl>

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    Response,
    substream::{InFlight, Standing, Substream},
};
use crate::{
    cache::Published,
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

    /// State of the world, clusters and listeners: a response without the bodies would delete
    /// them, so everything is sent again. Refused content is not.
    pub(super) fn renew_whole(&mut self, now: Instant) {
        if self.is_whole() && self.is_beat_due(now) {
            self.beat = None;
            if self.standing == Standing::Settled {
                self.answer_owed = true;
                self.standing = Standing::Open;
            }
        }
    }

    /// The sign of life for everything that has a time to live and that the client has.
    pub(super) fn heartbeat(
        &mut self,
        published: &Published,
        instance: &Arc<str>,
        now: Instant,
    ) -> Option<Response> {
        if self.is_whole() || !self.is_beat_due(now) {
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
        let is_living = |resource: &&Resource| {
            let name = resource.name();
            resource.ttl().is_some() && self.subscription.covers(name) && !self.open.has(name)
        };
        base.iter().filter(is_living).cloned().collect()
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
