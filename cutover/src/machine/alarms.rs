use std::time::Duration;

use pointsman_catalog::UnixMillis;
use serde::{Deserialize, Serialize};

/// After a rollback that was undone, alarms start no other one for a while.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub struct AlarmBackoff {
    /// How many rollbacks of this bake were undone; at least one.
    pub rollbacks_undone: u32,
    /// Before then an alarm starts no rollback.
    pub until: UnixMillis,
}

impl AlarmBackoff {
    /// The back-off after one more rollback was undone `at` this time.
    pub(super) fn after(former: Option<Self>, at: UnixMillis) -> Self {
        let before = former.map_or(0, |former| former.rollbacks_undone);
        Self {
            rollbacks_undone: before.saturating_add(1),
            until: at.plus(FIRST * 2_u32.pow(before.min(MOST_DOUBLINGS))),
        }
    }

    /// Whether an alarm that fires `at` this time starts no rollback.
    pub(super) fn covers(self, at: UnixMillis) -> bool {
        at < self.until
    }
}

/// Between an undone rollback and the next one that an alarm may start; doubled each time.
const FIRST: Duration = Duration::from_secs(30);
/// Sixteen minutes are the longest.
const MOST_DOUBLINGS: u32 = 5;
