//! A server library for Envoy's xDS protocol: snapshots of resources go in, what each client
//! has acknowledged or refused comes out.
//!
//! ```text
//!   publish(group → Snapshot) ─► SnapshotCache ─► one pure machine per stream ─► clients
//!                                                                                  │
//!   Fleet::converge(sequence, policy, deadline) ◄── ledger ◄── ACK, NACK ◄─────────┘
//! ```
//!
//! It serves the aggregated discovery service and the services for one type, in delta and in
//! state of the world, for every type of [`ResourceType`], and receives TCP access logs and
//! metrics. A client's known state moves on its ACK alone; refused content is not sent again
//! until it changes; one response per type is on its way at any time, and the newest content
//! wins; clusters and their endpoints are sent before what uses them, and taken away after it.
//! Other gRPC services can stand beside it on the same port ([`XdsServer::with_routes`]).
//!
//! What it does **not** do: it builds no resource, the empty assignment of a cluster without
//! endpoints apart, and looks into none except for the names by which clusters and listeners
//! ask for others. It keeps nothing over a restart: versions are hashes of content, so that
//! nothing unchanged is sent again but endpoints and, in state of the world, what is subscribed
//! by name. It knows no `xdstp` locators and answers no single requests (`Fetch…`, REST). And
//! an acknowledgement means what it means in the protocol: each resource was valid taken alone,
//! not that a client's workers use it yet.
//!
//! Beside others, its guarantees, its bounds: the README.
//!
//! # Features
//!
//! Both on by default. `tls`: mutual TLS with SPIFFE identities. `csds`: the fleet's state over
//! the client status discovery service.

mod broadcast_waker;
mod cache;
mod fleet;
mod group;
mod http2;
mod node;
mod nonce;
mod peer;
mod pieces;
mod published;
mod resource;
mod sequence;
mod server;
mod snapshot;
mod stream;
mod telemetry;
#[cfg(feature = "tls")]
mod tls;

#[cfg(any(test, fuzzing))]
mod fixture;
#[cfg(fuzzing)]
pub mod fuzzing;

/// The example of the README, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub use cache::SnapshotCache;
pub use fleet::{
    About, CanaryDecision, CanaryResult, CanaryTrial, Convergence, Delivery, Fleet, NodeRecord,
    NodeStatus, Outcome, Policy, time_of_day,
};
pub use group::Group;
pub use node::{NodeDescription, NodeDirectory, NodeId, OneGroup, PermissionDenied};
pub use peer::{Identity, IdentityError, Peer, TrustDomain};
pub use resource::{Resource, ResourceSet, ResourceSetError, ResourceType, Version};
pub use sequence::Sequence;
#[cfg(feature = "csds")]
pub use server::ClientStatus;
pub use server::{Limits, ServeError, XdsServer};
pub use snapshot::{Snapshot, SnapshotBuilder, SnapshotError};
pub use stream::{Acknowledged, Nack, Sent, TypeState, TypeStatus};
pub use telemetry::{
    AccessLogKind, MetricFamily, MetricKind, MetricSample, NoTelemetry, TcpAccessLog, TelemetrySink,
};
#[cfg(feature = "tls")]
pub use tls::{
    HandshakeError, ServerTls, SvidError, TlsConnection, TlsError, TlsFiles, TlsIncoming,
};
