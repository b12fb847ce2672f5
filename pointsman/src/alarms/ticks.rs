use std::time::Duration;

use pointsman_cutover::ports::{Clock, Monotonic};

/// Ticks at once, then once every period. A late tick delays those after it.
#[derive(Debug)]
pub(super) struct Ticks<'a> {
    clock: &'a dyn Clock,
    period: Duration,
    last: Option<Monotonic>,
}

impl<'a> Ticks<'a> {
    pub(super) fn new(clock: &'a dyn Clock, period: Duration) -> Self {
        Self {
            clock,
            period,
            last: None,
        }
    }

    /// Returns at the next tick.
    pub(super) async fn next(&mut self) {
        if let Some(last) = self.last {
            let passed = self.clock.elapsed(last);
            self.clock.sleep(self.period.saturating_sub(passed)).await;
        }
        self.last = Some(self.clock.monotonic());
    }
}
