//! What the sidecars report of themselves, made into numbers.
//!
//! ```text
//!   access log  ─► who is connected to which endpoint ─┐
//!                                                      ├─► NodeCensus, one per sidecar ─► usage
//!   statistics  ─► how many, parked, failed, tried  ───┘
//! ```
//!
//! It is evidence, never a proof: a sidecar reports late, and only what passes through it. What
//! it has not said for a while is unknown, not zero.

mod census;
mod node;
mod probe;
mod report;
mod route;
mod witness;

pub(crate) use census::SessionCensus;
pub(crate) use node::{Freshness, NodeUsage};
pub(crate) use probe::Tried;
pub(crate) use route::{EndpointUsage, RouteUsage};
pub(crate) use witness::Witness;
