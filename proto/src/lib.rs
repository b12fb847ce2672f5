//! The admin API: types only, no behaviour.

/// Version 1 of the admin API.
#[allow(
    missing_debug_implementations,
    unused_qualifications,
    clippy::allow_attributes_without_reason,
    clippy::too_many_lines,
    reason = "generated code"
)]
pub mod v1 {
    tonic::include_proto!("pointsman.admin.v1");
}

/// The methods that change nothing: those with the option `NO_SIDE_EFFECTS`.
pub const READ_ONLY_METHODS: &[&str] = include!(concat!(env!("OUT_DIR"), "/read_only.rs"));
