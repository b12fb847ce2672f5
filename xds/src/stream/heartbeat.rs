//! TTL renewal: a client drops a resource if it does not hear of it within the resource's TTL.
//! <https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#ttl>

use std::time::Duration;

use tokio::time::Instant;

use super::{client_state::ClientState, unsettled::Known};
use crate::resource::Resource;

/// When the client must next hear of its resources with a TTL.
#[derive(Debug, Default)]
pub(super) struct HeartbeatTimer {
    due: Option<Instant>,
}

impl HeartbeatTimer {
    /// `resources` are sent now. An earlier due time stays.
    pub(super) fn schedule(&mut self, resources: &[Resource], now: Instant) {
        let next = half_of_shortest(resources).map(|half| now + half);
        self.due = match (self.due, next) {
            (Some(due), Some(next)) => Some(due.min(next)),
            (due, next) => due.or(next),
        };
    }

    /// Starts the timer if it is not running. A client that reconnects keeps its resources, and
    /// their TTLs run on, although nothing is sent to it.
    pub(super) fn ensure_scheduled(&mut self, client: &ClientState, now: Instant) {
        if self.due.is_none() {
            self.restart(&renewable(client), now);
        }
    }

    /// `resources` are renewed now, and the client has no others with a TTL.
    pub(super) fn restart(&mut self, resources: &[Resource], now: Instant) {
        self.due = half_of_shortest(resources).map(|half| now + half);
    }

    pub(super) fn stop(&mut self) {
        self.due = None;
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.due.is_some_and(|due| due <= now)
    }
}

/// The resources with a TTL that the client has, in the version that it has.
pub(super) fn renewable(client: &ClientState) -> Vec<Resource> {
    let Some(newest) = client.newest_set().filter(|set| set.has_ttls()) else {
        return Vec::new();
    };
    let with_ttl = newest.iter().filter(|resource| resource.ttl().is_some());
    let wanted = with_ttl.filter(|resource| client.wants(resource.name()));
    wanted
        .filter_map(|resource| held_version(client, resource))
        .collect()
}

/// What the client has under the name of `resource`: this version, or the former one if it has
/// NACKed this one.
fn held_version(client: &ClientState, resource: &Resource) -> Option<Resource> {
    match client.unsettled(resource.name()).map(|state| &state.known) {
        None => Some(resource.clone()),
        Some(Known::Version(held)) => Some(resource.in_version(*held)),
        Some(Known::Resource(held)) => Some(held.clone()),
        Some(Known::Nothing | Known::Unknown | Known::Claimed) => None,
    }
}

/// One heartbeat may be late, and one may be lost with its connection.
fn half_of_shortest(resources: &[Resource]) -> Option<Duration> {
    let ttls = resources.iter().filter_map(Resource::ttl);
    ttls.min().map(|shortest| shortest / 2)
}
