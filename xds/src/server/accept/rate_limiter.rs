use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Lets a number of connections pass per second, and as many at once after a pause.
#[derive(Debug)]
pub(super) struct RateLimiter {
    /// The time between two connections at an even rate.
    step: Duration,
    burst: u32,
    /// When the last connection would have passed at an even rate.
    even: Instant,
}

impl RateLimiter {
    pub(super) fn new(per_second: u32, now: Instant) -> Self {
        let burst = per_second.max(1);
        Self {
            step: Duration::from_secs(1) / burst,
            burst,
            even: now,
        }
    }

    /// Waits until the next connection may pass.
    pub(super) async fn wait(&mut self) {
        let now = Instant::now();
        let due = self.next(now);
        if due > now {
            sleep_until(due).await;
        }
    }

    /// Counts the next connection and returns when it may pass.
    fn next(&mut self, now: Instant) -> Instant {
        self.even = self.even.max(now) + self.step;
        self.even
            .checked_sub(self.step * self.burst)
            .map_or(now, |due| due.max(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_at_once_and_the_rest_evenly() {
        let start = Instant::now();
        let mut limiter = RateLimiter::new(10, start);
        assert!((0..10).all(|_| limiter.next(start) == start));
        assert_eq!(limiter.next(start), start + Duration::from_millis(100));
        assert_eq!(limiter.next(start), start + Duration::from_millis(200));
        let later = start + Duration::from_secs(10);
        assert!((0..10).all(|_| limiter.next(later) == later));
        assert!(limiter.next(later) > later);
    }
}
