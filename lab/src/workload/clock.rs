//! One clock for everything a run records, with a fixed mapping to wall time.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

/// A monotonic clock whose origin is also known in wall time.
///
/// Clients stamp their events with it; Pointsman's timeline is in Unix milliseconds. The mapping is taken once, so that a
/// step of the wall clock during a run cannot reorder events.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    origin: Instant,
    origin_unix_us: i64,
}

/// A point of a run: microseconds since its [`Clock`]'s origin (negative before it).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(i64);

impl Clock {
    /// A clock whose origin is now.
    #[must_use]
    pub fn start() -> Self {
        Self {
            origin: Instant::now(),
            origin_unix_us: Timestamp::now().as_microsecond(),
        }
    }

    /// The present moment.
    #[must_use]
    pub fn now(&self) -> Moment {
        Moment(whole_micros(self.origin.elapsed()))
    }

    /// The moment of a wall-clock time given in Unix milliseconds.
    #[must_use]
    pub fn at_unix_ms(&self, unix_ms: i64) -> Moment {
        self.at_unix_us(unix_ms.saturating_mul(1000))
    }

    /// The moment of a wall-clock time given in Unix microseconds.
    #[must_use]
    pub fn at_unix_us(&self, unix_us: i64) -> Moment {
        Moment(unix_us.saturating_sub(self.origin_unix_us))
    }
}

impl Moment {
    /// The moment so many microseconds after the clock's origin.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Milliseconds from `earlier` to this moment; negative when `earlier` is the later one.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        reason = "a run is minutes long; f64 is exact for 285 years of microseconds"
    )]
    pub fn ms_since(self, earlier: Self) -> f64 {
        (self.0 - earlier.0) as f64 / 1000.0
    }

    /// This moment moved by `duration` into the future.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(whole_micros(duration)))
    }
}

fn whole_micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wall_time_and_monotonic_time_meet_at_the_origin() {
        let clock = Clock::start();
        let now = clock.now();
        let wall = clock.at_unix_us(Timestamp::now().as_microsecond());
        assert!(wall.ms_since(now).abs() < 50.0, "{wall:?} against {now:?}");
    }

    #[test]
    fn differences_are_in_milliseconds_and_signed() {
        let (early, late) = (Moment::from_micros(500), Moment::from_micros(2_750));
        assert!((late.ms_since(early) - 2.25).abs() < f64::EPSILON);
        assert!((early.ms_since(late) + 2.25).abs() < f64::EPSILON);
    }
}
