//! What a real Envoy makes of what the server sends, over both forms of the protocol.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests, too, fail by panicking"
)]

#[cfg(feature = "tls")]
#[path = "tls/authority.rs"]
#[expect(dead_code, reason = "another test needs the rest")]
mod authority;
#[path = "envoy/barriers.rs"]
mod barriers;
#[path = "envoy/control_plane.rs"]
mod control_plane;
#[path = "envoy/flips.rs"]
mod flips;
#[path = "envoy/folders.rs"]
mod folders;
#[path = "envoy/http_resources.rs"]
mod http_resources;
#[path = "envoy/old_connections.rs"]
mod old_connections;
#[path = "envoy/outages.rs"]
mod outages;
#[path = "envoy/partial.rs"]
mod partial;
#[path = "envoy/process.rs"]
mod process;
#[path = "envoy/reconnects.rs"]
mod reconnects;
#[path = "envoy/refusals.rs"]
mod refusals;
#[path = "../examples/flip/resources.rs"]
mod resources;
#[cfg(feature = "tls")]
#[path = "envoy/secrets.rs"]
mod secrets;
#[path = "envoy/served_config.rs"]
mod served_config;
#[path = "../examples/standalone.rs"]
#[expect(dead_code, reason = "an example's `main` is called by nobody here")]
mod standalone;
#[path = "envoy/traffic.rs"]
mod traffic;
#[path = "envoy/types.rs"]
mod types;
