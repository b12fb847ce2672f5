//! A server library for Envoy's xDS protocol. Snapshots of resources go in; what each client has
//! acknowledged or NACKed comes out.
//!
//! ```text
//!   publish(group → Snapshot) ─► SnapshotCache ─► one pure machine per stream ─► clients
//!                                                                                  │
//!   Fleet::converge(sequence, policy, deadline) ◄── ledger ◄── ACK, NACK ◄─────────┘
//! ```
//!
//! It serves the aggregated discovery service and the services for one type, in delta and in state
//! of the world, for every type of [`ResourceType`]. It receives TCP access logs and metrics.
//!
//! - Only an ACK changes what a client is known to have. NACKed content is not sent again until it
//!   changes.
//! - Per type at most one response is in flight, and the newest content wins.
//! - Clusters and their endpoints are sent before what uses them, and removed after it.
//! - Other gRPC services can be served on the same port ([`XdsServer::with_routes`]).
//!
//! What it does **not** do:
//!
//! - It builds no resources, except empty assignments of clusters without endpoints. It reads only
//!   the names by which clusters and listeners refer to other resources.
//! - It stores nothing. Versions are hashes of content, so after a restart only endpoints are sent
//!   again and, in state of the world, resources that are subscribed by name.
//! - It supports no `xdstp` locators and no single requests (`Fetch…`, REST).
//! - An ACK has the protocol's meaning: each resource was valid by itself. It does not mean that the
//!   client's workers use it yet.
//!
//! The README compares the library with others, and lists its guarantees and bounds.
//!
//! # Features
//!
//! Both are on by default. `tls`: mutual TLS with SPIFFE identities. `csds`: the fleet's status over
//! the client status discovery service.

mod broadcast_waker;
mod cache;
mod encoded_fields;
mod fleet;
mod group;
mod http2;
mod lease;
mod node;
mod nonce;
mod peer;
mod published;
mod refusal;
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

/// Serves connections by another HTTP/2 implementation, for comparisons. Not a supported interface.
#[doc(hidden)]
pub mod foreign {
    pub use crate::http2::{
        Bounds, Chunks, Exchange, Part, Request, Service, Timeouts,
        foreign::{ForeignHttp2, fields},
    };
}

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub use cache::SnapshotCache;
pub use fleet::{
    About, CanaryDecision, CanaryResult, CanaryTrial, Convergence, Delivery, Fleet, NodeRecord,
    NodeStatus, Observer, Outcome, Policy, time_of_day,
};
pub use group::Group;
pub use lease::{Absence, Lease, LeaseStatus};
pub use node::{Admission, NodeDescription, NodeDirectory, NodeId, OneGroup};
pub use peer::{Identity, IdentityError, Peer, TrustDomain};
pub use refusal::Refusal;
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
    ClientTls, ConnectError, HandshakeError, ServerTls, SvidError, TlsConnection, TlsError,
    TlsFiles, TlsIncoming,
};
