//! What the real Envoy makes of what is rendered here: of files, by `--mode validate`
//! ([`validated`]), and of resources that come over a stream ([`streamed`]).
#![expect(
    clippy::unwrap_used,
    reason = "clippy knows tests, and not their helpers"
)]

mod fleet;
mod sidecar;
mod streamed;
mod validated;
