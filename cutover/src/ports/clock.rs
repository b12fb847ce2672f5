use std::{fmt, future::Future, time::Duration};

use async_trait::async_trait;
use pointsman_catalog::UnixMillis;
use tokio::time::Instant;

/// Time, and waiting for it. Engine and steps have no other clock, so that a test or a
/// simulation decides when time passes.
#[async_trait]
pub trait Clock: fmt::Debug + Send + Sync {
    /// The wall clock: for records and for deadlines that outlive this process.
    fn now(&self) -> UnixMillis;

    /// Never goes back: for durations and deadlines inside this process.
    fn monotonic(&self) -> Monotonic;

    /// Returns once `duration` has passed on the monotonic clock.
    async fn sleep(&self, duration: Duration);
}

/// A reading of one clock's monotonic time; readings of two clocks say nothing about each
/// other.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Monotonic(Duration);

/// The time that was given to a future is over.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("no answer in time")]
pub struct Elapsed;

/// A moment on the monotonic time of a clock.
#[derive(Clone, Copy, Debug)]
pub struct Deadline<'a> {
    clock: &'a dyn Clock,
    at: Monotonic,
}

/// The clock of the operating system, by tokio's timers.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    origin: Instant,
}

impl Monotonic {
    /// The reading at `since_origin` after the clock's origin.
    pub fn new(since_origin: Duration) -> Self {
        Self(since_origin)
    }

    /// This reading plus `duration`, saturating.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }

    /// How long from `earlier` until this reading; zero when `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl dyn Clock + '_ {
    /// The moment `after` from now.
    pub fn deadline(&self, after: Duration) -> Deadline<'_> {
        Deadline {
            clock: self,
            at: self.monotonic().plus(after),
        }
    }

    /// How long it is since `earlier`.
    pub fn elapsed(&self, earlier: Monotonic) -> Duration {
        self.monotonic().since(earlier)
    }

    /// Drops `future` when it has not ended within `limit`.
    pub async fn timeout<F: Future>(
        &self,
        limit: Duration,
        future: F,
    ) -> Result<F::Output, Elapsed> {
        tokio::select! {
            biased;
            output = future => Ok(output),
            () = self.sleep(limit) => Err(Elapsed),
        }
    }
}

impl Deadline<'_> {
    /// Whether that moment is reached.
    pub fn has_passed(&self) -> bool {
        self.clock.monotonic() >= self.at
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self {
            origin: Instant::now(),
        }
    }
}

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> UnixMillis {
        UnixMillis::now()
    }

    fn monotonic(&self) -> Monotonic {
        Monotonic::new(self.origin.elapsed())
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::{FutureExt as _, poll};

    use super::*;
    use crate::ports::ManualClock;

    #[tokio::test]
    async fn a_sleep_ends_when_its_time_has_passed_and_not_before() {
        let clock = ManualClock::at(UnixMillis(1_000));
        let mut sleep = Box::pin(clock.sleep(Duration::from_secs(3)));
        assert!(poll!(&mut sleep).is_pending());
        clock.advance(Duration::from_millis(2_999));
        assert!(poll!(&mut sleep).is_pending());
        clock.advance(Duration::from_millis(1));
        assert!(poll!(&mut sleep).is_ready());
        assert_eq!(clock.now(), UnixMillis(4_000));
    }

    #[tokio::test]
    async fn a_timeout_takes_the_answer_that_is_there_at_the_last_moment() {
        let manual = ManualClock::at(UnixMillis(0));
        let clock: Arc<dyn Clock> = Arc::new(manual.clone());
        let answered = clock.timeout(Duration::ZERO, async { 7 }).await;
        assert_eq!(answered, Ok(7));
        let mut silent =
            Box::pin(clock.timeout(Duration::from_secs(1), std::future::pending::<()>()));
        assert!(poll!(&mut silent).is_pending());
        manual.advance(Duration::from_secs(1));
        assert_eq!(silent.now_or_never(), Some(Err(Elapsed)));
    }

    #[tokio::test]
    async fn the_wall_clock_may_be_set_back_and_a_deadline_stands() {
        let manual = ManualClock::at(UnixMillis(10_000));
        let clock: &dyn Clock = &manual;
        let deadline = clock.deadline(Duration::from_secs(2));
        manual.set_wall(UnixMillis(0));
        assert!(!deadline.has_passed());
        manual.advance(Duration::from_secs(2));
        assert!(deadline.has_passed());
    }

    #[tokio::test]
    async fn the_systems_monotonic_time_grows_while_it_sleeps() {
        let system = SystemClock::default();
        let clock: &dyn Clock = &system;
        let began = clock.monotonic();
        clock.sleep(Duration::from_millis(5)).await;
        assert!(clock.elapsed(began) >= Duration::from_millis(5));
    }
}
