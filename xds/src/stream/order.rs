//! Make before break: additions are sent in the order clusters, endpoints, listeners, routes.
//! Removals are sent last, in the reverse order.
//! <https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#eventual-consistency-considerations>

use std::time::Duration;

use crate::resource::ResourceType::{
    self, Cluster, Endpoints, Extension, Listener, Route, Runtime, ScopedRoute, Secret, VirtualHost,
};

/// One step of the order.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) kind: ResourceType,
    pub(super) phase: Phase,
    /// Types that must be acknowledged before this step sends anything.
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
    /// Removals together with additions. Nothing that is sent later refers to the type by name, and an
    /// address can move from one listener to another only within one response.
    Both,
}

impl Phase {
    pub(super) const fn upserts(self) -> bool {
        matches!(self, Self::Upsert | Self::Both)
    }

    /// Whether the step sends removals. Such a step is the last one of its type.
    pub(super) const fn removes(self) -> bool {
        matches!(self, Self::Remove | Self::Both)
    }
}

/// The steps, in the order of sending. A resource never waits for the ACK of what refers to it: Envoy
/// withholds the ACK of a changed cluster until it has the endpoints. The same holds for secrets and
/// routes with listeners, and for virtual hosts with routes.
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

/// How long an addition waits for the ACKs of what it may refer to, once all of that is sent. The order
/// of sending is kept in any case. The value is far above the ACK time of a live client, and far below
/// the 15 s for which Envoy may withhold an ACK. A removal waits without a limit.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
