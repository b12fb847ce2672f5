//! Make before break: additions go out clusters, endpoints, listeners, routes; what these refer
//! to is removed last.
//! <https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#eventual-consistency-considerations>

use std::time::Duration;

use crate::resource::ResourceType::{
    self, Cluster, Endpoints, Extension, Listener, Route, Runtime, ScopedRoute, Secret, VirtualHost,
};

/// One place in the order.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) kind: ResourceType,
    pub(super) phase: Phase,
    /// Types whose content must be acknowledged before this step sends anything.
    pub(super) after: &'static [ResourceType],
}

impl Step {
    const fn new(kind: ResourceType, phase: Phase, after: &'static [ResourceType]) -> Self {
        Self { kind, phase, after }
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Phase {
    Upsert,
    Remove,
    /// Removals beside additions: nothing that is sent later refers to the type by name, and
    /// an address changes hands between two listeners only within one response.
    Both,
}

impl Phase {
    pub(super) const fn upserts(self) -> bool {
        matches!(self, Self::Upsert | Self::Both)
    }

    /// A step that removes is the last one of its type.
    pub(super) const fn removes(self) -> bool {
        matches!(self, Self::Remove | Self::Both)
    }
}

/// Endpoints never wait for clusters: Envoy withholds the ACK of a changed cluster until its
/// endpoints are there. Nor do secrets and routes wait for listeners, nor virtual hosts for
/// routes, for the same reason: they follow what refers to them.
pub(super) const ORDER: [Step; 13] = [
    Step::new(Runtime, Phase::Both, &[]),
    Step::new(Cluster, Phase::Upsert, &[]),
    Step::new(Endpoints, Phase::Upsert, &[]),
    Step::new(Extension, Phase::Upsert, &[Cluster, Endpoints]),
    Step::new(Listener, Phase::Both, &[Cluster, Endpoints, Extension]),
    Step::new(Secret, Phase::Upsert, &[]),
    Step::new(ScopedRoute, Phase::Both, &[Cluster, Endpoints, Extension]),
    Step::new(Route, Phase::Both, &[Cluster, Endpoints, Extension]),
    Step::new(VirtualHost, Phase::Both, &[Cluster, Endpoints, Extension]),
    Step::new(Extension, Phase::Remove, &[Listener]),
    Step::new(
        Cluster,
        Phase::Remove,
        &[
            Endpoints,
            Extension,
            Listener,
            ScopedRoute,
            Route,
            VirtualHost,
        ],
    ),
    Step::new(
        Endpoints,
        Phase::Remove,
        &[
            Cluster,
            Extension,
            Listener,
            ScopedRoute,
            Route,
            VirtualHost,
        ],
    ),
    Step::new(Secret, Phase::Remove, &[Cluster, Extension, Listener]),
];

/// How long an addition waits for acknowledgements of what it may refer to, once all of that
/// is on its way. The order of sending is kept in any case; what is lost past this time is
/// only that the client has confirmed it. Far above any ACK of a live client, far below the
/// 15 s for which Envoy may withhold one. A removal waits for as long as it takes.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
