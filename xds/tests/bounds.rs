//! The server against clients that misbehave, on bare sockets.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests, too, fail by panicking"
)]

#[path = "bounds/blocked.rs"]
mod blocked;
#[path = "bounds/connections.rs"]
mod connections;
#[path = "ads/control_plane.rs"]
#[expect(dead_code, reason = "made for clients that behave")]
mod control_plane;
#[path = "bounds/deadlines.rs"]
mod deadlines;
#[path = "bounds/messages.rs"]
mod messages;
#[path = "bounds/wire.rs"]
#[expect(dead_code, reason = "some of it serves the tests of memory")]
mod wire;
