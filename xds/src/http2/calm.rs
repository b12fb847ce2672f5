//! Frames that cost work and bring nothing, counted: a flood of them ends the connection.

use std::time::Duration;

use tokio::time::Instant;

/// How many such frames a client may still send.
#[derive(Debug)]
pub(super) struct Calm {
    left: u32,
    /// When `left` was last brought up to date.
    at: Instant,
}

/// The client has sent too many.
#[derive(Debug)]
pub(super) struct Flood;

impl Calm {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            left: BURST,
            at: now,
        }
    }

    pub(super) fn spend(&mut self, now: Instant) -> Result<(), Flood> {
        if self.left == 0 {
            self.refill(now);
        }
        self.left = self.left.checked_sub(1).ok_or(Flood)?;
        Ok(())
    }

    /// Something useful has passed, in either direction: it excuses a frame.
    pub(super) fn excuse(&mut self) {
        self.left = (self.left + 1).min(BURST);
    }

    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at);
        let rate = Duration::from_secs(1) / PER_SECOND;
        let frames = u32::try_from(passed.as_nanos() / rate.as_nanos()).unwrap_or(BURST);
        if frames > 0 {
            self.left = (self.left + frames).min(BURST);
            self.at = now;
        }
    }
}

/// Frames at once, and then by second. Far above what a client sends that changes its mind
/// about streams, windows and settings, or pings every few seconds; small against what a core
/// can read.
const BURST: u32 = 2_000;
const PER_SECOND: u32 = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_allowed_a_flood_is_not_and_time_heals() {
        let start = Instant::now();
        let mut calm = Calm::new(start);
        assert!((0..BURST).all(|_| calm.spend(start).is_ok()));
        assert!(calm.spend(start).is_err());
        let later = start + Duration::from_millis(10);
        assert!(calm.spend(later).is_ok() && calm.spend(later).is_ok());
        assert!(calm.spend(later).is_err());
        calm.excuse();
        assert!(calm.spend(later).is_ok());
    }
}
