//! What the real Envoy makes of what is rendered here: of files, by `--mode validate`
//! ([`validated`]), and of resources that come over a stream ([`streamed`]).
#![expect(
    clippy::unwrap_used,
    reason = "clippy knows tests, and not their helpers"
)]

#[path = "../../../xds/tests/envoy/control_plane.rs"]
#[expect(dead_code, reason = "made for the tests of the xDS server")]
mod control_plane;
mod fleet;
mod sidecar;
mod streamed;
mod validated;
