//! The server behind real sockets, against plain gRPC clients.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests, too, fail by panicking"
)]

#[path = "ads/control_plane.rs"]
mod control_plane;
#[cfg(feature = "csds")]
#[path = "ads/csds.rs"]
mod csds;
#[path = "ads/delta.rs"]
mod delta;
#[path = "ads/lifecycle.rs"]
mod lifecycle;
#[path = "ads/services.rs"]
mod services;
#[path = "ads/sotw.rs"]
mod sotw;
#[path = "ads/telemetry.rs"]
mod telemetry;
