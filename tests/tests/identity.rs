//! Certificates decide: who is served, what exists for them, who commands.

#[path = "identity/admin_connection.rs"]
mod admin_connection;
#[path = "identity/bootstraps.rs"]
mod bootstraps;
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
