//! Make before break: additions go out clusters, endpoints, listeners, routes; removals come
//! last and in reverse.
//! <https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#eventual-consistency-considerations>

use std::time::Duration;

use crate::resource::ResourceType::{self, Cluster, Endpoints, Listener, Route, Runtime, Secret};

/// One place in the order.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) kind: ResourceType,
    pub(super) phase: Phase,
    /// Types whose content must be acknowledged before this step sends anything.
    pub(super) after: &'static [ResourceType],
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Phase {
    /// Never waits.
    Upsert,
    Remove,
    /// Removals beside additions: nothing refers to a listener or a route's name by
    /// cluster, and an address changes hands between two listeners only within one response.
    Both,
}

impl Phase {
    pub(super) const fn upserts(self) -> bool {
        matches!(self, Self::Upsert | Self::Both)
    }

    pub(super) const fn removes(self) -> bool {
        matches!(self, Self::Remove | Self::Both)
    }

    /// Whether the step can be blocked.
    pub(super) const fn waits(self) -> bool {
        !matches!(self, Self::Upsert)
    }

    /// Whether the type has no step after this one.
    pub(super) const fn is_last(self) -> bool {
        !matches!(self, Self::Upsert)
    }
}

/// Endpoints never wait for clusters: Envoy withholds the ACK of a changed cluster until its
/// endpoints are there. Routes do not wait for listeners, for the same reason.
pub(super) const ORDER: [Step; 8] = [
    Step {
        kind: Secret,
        phase: Phase::Both,
        after: &[],
    },
    Step {
        kind: Runtime,
        phase: Phase::Both,
        after: &[],
    },
    Step {
        kind: Cluster,
        phase: Phase::Upsert,
        after: &[],
    },
    Step {
        kind: Endpoints,
        phase: Phase::Upsert,
        after: &[],
    },
    Step {
        kind: Listener,
        phase: Phase::Both,
        after: &[Cluster, Endpoints],
    },
    Step {
        kind: Route,
        phase: Phase::Both,
        after: &[Cluster, Endpoints],
    },
    Step {
        kind: Cluster,
        phase: Phase::Remove,
        after: &[Endpoints, Listener, Route],
    },
    Step {
        kind: Endpoints,
        phase: Phase::Remove,
        after: &[Cluster, Listener, Route],
    },
];

/// How long an addition waits for acknowledgements of what it may refer to, once all of that
/// is on its way. The order of sending is kept in any case; what is lost past this time is
/// only that the client has confirmed it. Far above any ACK of a live client, far below the
/// 15 s for which Envoy may withhold one. A removal waits for as long as it takes.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
