use std::time::Duration;

use pointsman_catalog::UnixMillis;
use serde::{Deserialize, Serialize};

/// Past it, on the target's clock, the target refuses to be promoted by this request.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct PromotionDeadline(pub UnixMillis);

impl PromotionDeadline {
    /// The deadline of a request that is made when the target's clock shows `target_clock`.
    pub fn from_target_clock(target_clock: UnixMillis, promote: Duration) -> Self {
        Self(target_clock.plus(promote))
    }

    /// Whether a request made `now`, by the engine's clock, may still use this deadline: half
    /// of the time for a promotion is left. Past it the former request cannot take effect any
    /// more, and the next one gets a deadline of its own.
    pub fn serves(self, now: UnixMillis, promote: Duration) -> bool {
        self.0 > now.plus(promote / 2)
    }

    /// Whether the target's clock shows that no request under this deadline can take effect.
    pub fn has_passed(self, target_clock: UnixMillis) -> bool {
        target_clock > self.0
    }
}
