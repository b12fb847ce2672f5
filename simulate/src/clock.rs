use std::time::Duration;

use async_trait::async_trait;
use pointsman_catalog::UnixMillis;
use pointsman_cutover::ports::{Clock, Monotonic};

use crate::{schedule::Timer, world::Shared};

/// The clock of an engine's machine.
#[derive(Clone, Debug)]
pub(crate) struct SimulatedClock {
    pub(crate) shared: Shared,
}

#[async_trait]
impl Clock for SimulatedClock {
    fn now(&self) -> UnixMillis {
        self.shared.world().wall()
    }

    fn monotonic(&self) -> Monotonic {
        Monotonic::new(Duration::from_micros(self.shared.world().now()))
    }

    async fn sleep(&self, duration: Duration) {
        Timer::new(&self.shared, duration).await;
    }
}
