//! A server library for Envoy's xDS protocol: snapshots of resources go in, what each client
//! has acknowledged or refused comes out.
//!
//! ```text
//!   publish(group → Snapshot) ─► SnapshotCache ─► one pure machine per stream ─► clients
//!                                                                                  │
//!   Fleet::converge(sequence, policy, deadline) ◄── ledger ◄── ACK, NACK ◄─────────┘
//! ```
//!
//! It serves the aggregated discovery service, delta and state of the world, for clusters,
//! endpoints, listeners, routes (scoped and on demand too), filter configurations, secrets and
//! runtime layers, and receives access logs and
//! metrics. A client's known state moves on its ACK alone; refused content is not sent again
//! until it changes; one response per type is on its way at any time, and the newest content
//! wins; additions go out before removals.
//!
//! What it does **not** do: it builds no resource, the empty assignment of a cluster without
//! endpoints apart, and looks into none except for the name under which a cluster asks for its
//! endpoints. It keeps nothing over a restart: versions are hashes of content, so nothing that
//! is unchanged is sent again, endpoints apart. It serves no TTL, no `xdstp` locators and no
//! service per type. And an acknowledgement means what it means in the protocol: each resource was valid taken alone,
//! not that a client's workers use it yet.

mod bell;
mod cache;
mod fleet;
mod http2;
mod node;
mod peer;
mod resource;
mod server;
mod snapshot;
mod stream;
mod telemetry;
#[cfg(feature = "tls")]
mod tls;

#[cfg(any(test, fuzzing))]
mod fixture;

/// The example of the README, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub use cache::{Group, Sequence, SnapshotCache};
pub use fleet::{
    About, Canary, Convergence, Delivery, Fleet, NodeRecord, NodeStatus, Outcome, Policy, Trial,
    Verdict, time_of_day,
};
pub use node::{NodeDescription, NodeDirectory, NodeId, Refusal};
pub use peer::{Identity, IdentityError, Peer, TrustDomain};
pub use resource::{Resource, ResourceSet, ResourceSetError, ResourceType, Version};
pub use server::{ClientStatus, Limits, ServeError, XdsServer};
pub use snapshot::{Snapshot, SnapshotBuilder, SnapshotError};
pub use stream::{Acknowledged, Nack, Sent, TypeState, TypeStatus};
pub use telemetry::{
    AccessLogKind, MetricFamily, MetricKind, MetricSample, NoTelemetry, TcpAccessLog, TelemetrySink,
};
#[cfg(feature = "tls")]
pub use tls::{
    HandshakeError, ServerTls, SvidError, TlsConnection, TlsError, TlsFiles, TlsIncoming,
};
