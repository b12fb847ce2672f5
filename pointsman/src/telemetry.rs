//! Sessions, failures and probe results, from the access logs and statistics of sidecars.
//!
//! ```text
//!   access log  ─► who is connected to which endpoint ─┐
//!                                                      ├─► NodeTracker, one per sidecar ─► usage
//!   statistics  ─► how many, parked, failed, tried  ───┘
//! ```
//!
//! It is evidence and no proof: a sidecar reports late, and only what passes through it. The
//! numbers of a silent sidecar are unknown, not zero.

mod absent_members;
mod node;
mod probe;
mod report;
mod route;
mod server_clients;
mod session_tracker;
mod telemetry_evidence;

pub(crate) use absent_members::AbsentMembers;
pub(crate) use node::{Freshness, NodeUsage};
pub(crate) use probe::ProbeResult;
pub(crate) use route::{EndpointUsage, RouteUsage};
pub(crate) use server_clients::ServerClients;
pub(crate) use session_tracker::SessionTracker;
pub(crate) use telemetry_evidence::TelemetryEvidence;
