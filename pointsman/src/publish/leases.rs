//! How long barriers await a member of a sidecar group after it went.

use std::time::Duration;

use pointsman_catalog::GroupName;
use pointsman_xds::Lease;

/// A member whose connection was closed has ended, and its machine has closed its connections to
/// servers with it; or it goes on and is back within its bootstrap's back-off of 0.5 s.
pub(super) const CLOSED: Duration = Duration::from_millis(1_500);

/// A member that has gone silent may serve applications still: so long may an operator need to look at it.
const SILENT: Duration = Duration::from_secs(30);

/// After a start of the control plane a member is back within its back-off of 0.5 s and its connect timeout of
/// 1 s. The rest is for a large fleet that comes at once.
const RESTORED: Duration = Duration::from_secs(5);

/// The lease of a member of `group`.
pub(super) fn of_member(group: &GroupName) -> Lease {
    Lease {
        cohort: group.as_str().into(),
        closed: CLOSED,
        silent: SILENT,
        restored: RESTORED,
    }
}
