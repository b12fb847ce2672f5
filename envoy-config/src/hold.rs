//! How a sidecar parks new connections: the only endpoint left is one that cannot be
//! reached, and `tcp_proxy` tries again with a short backoff, choosing the endpoint anew
//! each time.

use std::time::Duration;

use bytes::Bytes;
use envoy_types::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, cluster_load_assignment::Policy,
};
use prost::{DecodeError, Message as _};

/// The longest hold that a sidecar sustains; past it parked connections run out of
/// attempts. A hold's own end comes from its route and is to be earlier.
pub const MAX_HOLD: Duration = Duration::from_millis(MAX_HOLD_MILLIS as u64);

const MAX_HOLD_MILLIS: u32 = 30_000;

/// Nobody can listen here: the parent is no directory, so `connect` always fails at once.
pub(crate) const UNREACHABLE_PIPE: &str = "/dev/null/pointsman-hold";

/// Whether a sidecar's message on a failed connect attempt means that the connection is parked:
/// in a hold every attempt fails.
pub fn is_parked(failure: &str) -> bool {
    failure.contains(UNREACHABLE_PIPE)
}

/// The encoded load assignment as it is once its time is over. One that goes stale, as that of a hold
/// does, has no endpoints then: it refuses. Every other one stays as it is. For whoever keeps
/// assignments: what is left of a hold is counted from when it was sent.
///
/// # Errors
/// If `assignment` is none.
pub fn outlasting(assignment: Bytes) -> Result<Bytes, DecodeError> {
    let decoded = ClusterLoadAssignment::decode(assignment.clone())?;
    let goes_stale = |policy: &Policy| policy.endpoint_stale_after.is_some();
    if !decoded.policy.as_ref().is_some_and(goes_stale) {
        return Ok(assignment);
    }
    let refusing = ClusterLoadAssignment {
        cluster_name: decoded.cluster_name,
        ..ClusterLoadAssignment::default()
    };
    Ok(refusing.encode_to_vec().into())
}

pub(crate) const BACKOFF_BASE: Duration = Duration::from_millis(10);

/// Bounds how late a parked connection hears of its release.
pub(crate) const BACKOFF_MAX: Duration = Duration::from_millis(BACKOFF_MAX_MILLIS as u64);

const BACKOFF_MAX_MILLIS: u32 = 50;

/// Attempts that last for [`MAX_HOLD`]. Envoy waits a random time between 0 and the
/// backoff's maximum, so half of that on average; over this many attempts the sum strays
/// by 2 % at most, and a tenth is added. Envoy 1.40 took 36.6 to 38.8 s for them (100
/// connections on a busy machine).
///
/// It is as small as that because it also decides how long connections to a *serving*
/// server that refuses wait before they fail: the listener cannot tell a hold from an
/// outage. An assignment without endpoints refuses at once; this number does not matter there.
pub(crate) const MAX_CONNECT_ATTEMPTS: u32 = MAX_HOLD_MILLIS / (BACKOFF_MAX_MILLIS / 2) * 11 / 10;
