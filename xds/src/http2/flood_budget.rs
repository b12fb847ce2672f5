//! Limits frames that cost work and bring nothing. A flood of them ends the connection.

use std::time::Duration;

use tokio::time::Instant;

/// How many such frames a client may still send. The budget is a token bucket: it refills with
/// time, and by one frame with each useful frame.
#[derive(Debug)]
pub(super) struct FloodBudget {
    left: u32,
    refilled_at: Instant,
}

/// The client has sent too many.
#[derive(Debug)]
pub(super) struct Exhausted;

impl FloodBudget {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            left: BURST,
            refilled_at: now,
        }
    }

    /// Takes one frame from the budget.
    pub(super) fn spend(&mut self, now: Instant) -> Result<(), Exhausted> {
        if self.left == 0 {
            self.refill(now);
        }
        self.left = self.left.checked_sub(1).ok_or(Exhausted)?;
        Ok(())
    }

    /// Adds one frame, because something useful was sent or received.
    pub(super) fn earn(&mut self) {
        self.left = (self.left + 1).min(BURST);
    }

    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.refilled_at);
        let interval = Duration::from_secs(1) / PER_SECOND;
        let frames = u32::try_from(passed.as_nanos() / interval.as_nanos()).unwrap_or(BURST);
        if frames > 0 {
            self.left = self.left.saturating_add(frames).min(BURST);
            self.refilled_at = now;
        }
    }
}

/// Frames in one burst. A client that changes streams, windows and settings, or pings every few
/// seconds, sends far fewer; one core reads this many in a moment.
const BURST: u32 = 2_000;
/// Frames by which the budget refills each second.
const PER_SECOND: u32 = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_allowed_a_flood_is_not_and_time_heals() {
        let start = Instant::now();
        let mut budget = FloodBudget::new(start);
        assert!((0..BURST).all(|_| budget.spend(start).is_ok()));
        assert!(budget.spend(start).is_err());
        let later = start + Duration::from_millis(10);
        assert!(budget.spend(later).is_ok() && budget.spend(later).is_ok());
        assert!(budget.spend(later).is_err());
        budget.earn();
        assert!(budget.spend(later).is_ok());
    }

    #[test]
    fn a_budget_that_rested_for_years_is_full() {
        let start = Instant::now();
        let mut budget = FloodBudget::new(start);
        assert!((0..BURST).all(|_| budget.spend(start).is_ok()));
        let years = start + Duration::from_secs(10 * 365 * 24 * 60 * 60);
        assert!((0..BURST).all(|_| budget.spend(years).is_ok()));
        assert!(budget.spend(years).is_err());
    }
}
