//! How old what is kept is; pure.

use std::time::Duration;

use pointsman_catalog::UnixMillis;
use tokio::time::Instant;

/// A moment by the machine's clock and, within one process, by the clock that nobody sets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Moment {
    pub(super) wall: UnixMillis,
    /// `None` for a moment that a former process has recorded.
    pub(super) running: Option<Instant>,
}

/// The machine's clock shows a time before the moment: nobody knows how long ago that was.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct ClockWentBack;

impl Moment {
    pub(super) fn now() -> Self {
        Self {
            wall: UnixMillis::now(),
            running: Some(Instant::now()),
        }
    }

    /// A moment of a former process.
    pub(super) const fn recorded(wall: UnixMillis) -> Self {
        Self {
            wall,
            running: None,
        }
    }

    /// How long before `now` this moment was: by both clocks, if both are known, the longer time. The
    /// machine's clock may have been set, and the other one stands still while the machine sleeps.
    pub(super) fn age(self, now: Self) -> Result<Duration, ClockWentBack> {
        if self.wall > now.wall {
            return Err(ClockWentBack);
        }
        let by_wall = now.wall.since(self.wall);
        let by_running = now.running.zip(self.running);
        let by_running = by_running.map(|(now, then)| now.saturating_duration_since(then));
        Ok(by_running.map_or(by_wall, |running| running.max(by_wall)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn moment(wall: u64, running: Option<Instant>) -> Moment {
        Moment {
            wall: UnixMillis(wall),
            running,
        }
    }

    #[test]
    fn of_two_clocks_the_one_that_shows_more_counts() {
        let began = Instant::now();
        let contact = moment(10_000_000, Some(began));
        // The machine slept, or its clock was set forward.
        let now = moment(10_000_000 + 3_600_000, Some(began));
        assert_eq!(contact.age(now), Ok(HOUR));
        // Its clock was set back, and not as far as to before the contact.
        let now = moment(10_000_001, Some(began + HOUR));
        assert_eq!(contact.age(now), Ok(HOUR));
    }

    #[test]
    fn of_a_former_process_only_the_machines_clock_is_known() {
        let contact = Moment::recorded(UnixMillis(5_000));
        let now = moment(65_000, Some(Instant::now()));
        assert_eq!(contact.age(now), Ok(Duration::from_secs(60)));
    }

    #[test]
    fn a_moment_that_is_still_to_come_has_no_age() {
        let began = Instant::now();
        let now = moment(4_999, Some(began + HOUR));
        assert_eq!(moment(5_000, Some(began)).age(now), Err(ClockWentBack));
        assert_eq!(
            Moment::recorded(UnixMillis(5_000)).age(now),
            Err(ClockWentBack)
        );
    }
}
