//! Certificates decide: who is served, what exists for them, who commands.

#[path = "identity/house.rs"]
mod house;
#[path = "identity/operators.rs"]
mod operators;
#[path = "identity/rogue.rs"]
mod rogue;
#[path = "identity/sidecar.rs"]
mod sidecar;
