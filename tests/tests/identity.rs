//! Certificates decide: who is served, what exists for them, who commands.

#[path = "identity/cache.rs"]
mod cache;
#[path = "identity/control_plane.rs"]
mod control_plane;
#[path = "identity/groups.rs"]
mod groups;
#[path = "identity/operators.rs"]
mod operators;
#[path = "identity/rogue.rs"]
mod rogue;
#[path = "identity/sidecar.rs"]
mod sidecar;
