use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use pointsman_catalog::UnixMillis;
use tokio::sync::watch;

use super::clock::{Clock, Monotonic};

/// A clock that stands still until it is moved: for tests and simulation.
#[derive(Clone, Debug)]
pub struct ManualClock {
    wall: Arc<Mutex<UnixMillis>>,
    since_origin: watch::Sender<Duration>,
}

impl ManualClock {
    /// A clock whose wall time is `now`.
    #[must_use]
    pub fn at(now: UnixMillis) -> Self {
        Self {
            wall: Arc::new(Mutex::new(now)),
            since_origin: watch::Sender::new(Duration::ZERO),
        }
    }

    /// Lets `duration` pass, on both times.
    pub fn advance(&self, duration: Duration) {
        let wall = self.now().plus(duration);
        self.set_wall(wall);
        self.since_origin.send_modify(|since| *since += duration);
    }

    /// Sets the wall clock as an operator or NTP does; the monotonic time knows nothing of it.
    pub fn set_wall(&self, now: UnixMillis) {
        *self.wall.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }
}

#[async_trait]
impl Clock for ManualClock {
    fn now(&self) -> UnixMillis {
        *self.wall.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn monotonic(&self) -> Monotonic {
        Monotonic::new(*self.since_origin.borrow())
    }

    async fn sleep(&self, duration: Duration) {
        let mut passed = self.since_origin.subscribe();
        let end = *passed.borrow() + duration;
        // The sender lives as long as this clock, so the wait cannot fail.
        let _ = passed.wait_for(|since| *since >= end).await;
    }
}
