//! How long barriers await a member of a sidecar group after it went.

use std::time::Duration;

use pointsman_xds::Lease;

/// The lease of every member.
///
/// A member whose connection was closed has ended, and its machine has closed its connections to
/// servers with it; or it goes on and is back within its bootstrap's back-off of 0.5 s. A member that
/// has gone silent may serve applications still: its lease is as long as an operator may need to look at
/// it.
pub(super) const OF_MEMBERS: Lease = Lease {
    closed: Duration::from_millis(1_500),
    silent: Duration::from_secs(30),
};
