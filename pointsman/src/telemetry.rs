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

mod node;
mod probe;
mod report;
mod route;
mod session_tracker;
mod silent_members;
mod telemetry_evidence;

pub(crate) use node::{Freshness, NodeUsage};
pub(crate) use probe::ProbeResult;
pub(crate) use route::{EndpointUsage, RouteUsage};
pub(crate) use session_tracker::SessionTracker;
pub(crate) use silent_members::SilentMembers;
pub(crate) use telemetry_evidence::TelemetryEvidence;
