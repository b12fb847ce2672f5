use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex as SyncMutex, MutexGuard, PoisonError},
    time::Duration,
};

use pointsman_catalog::{Chain, DatabaseName, Route, Routes, UnixMillis};
use pointsman_cutover::ports::{Clock, Monotonic};
use tokio::sync::{Mutex, Notify};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::state::PublishedState;

/// Ends holds that nobody ended: past its end a hold refuses, on every sidecar. Knows which
/// databases are in a hold.
#[derive(Debug)]
pub(crate) struct HoldTimer {
    state: Arc<Mutex<PublishedState>>,
    clock: Arc<dyn Clock>,
    holds: SyncMutex<BTreeMap<DatabaseName, Held>>,
    /// Routes were published: the next end may be another one.
    changed: Notify,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Held {
    Now,
    Until(Monotonic),
}

impl HoldTimer {
    /// Ends the holds of `state`, while [`Self::run`] is polled.
    pub(super) fn new(state: Arc<Mutex<PublishedState>>, clock: Arc<dyn Clock>) -> Self {
        Self {
            state,
            clock,
            holds: SyncMutex::default(),
            changed: Notify::new(),
        }
    }

    /// Takes note of the holds in routes that are being published.
    pub(super) fn note<'a>(
        &self,
        routes: impl IntoIterator<Item = (&'a DatabaseName, &'a Routes)>,
    ) {
        let mut routes = routes.into_iter().peekable();
        if routes.peek().is_none() {
            return;
        }
        let mut holds = self.lock();
        for (name, routes) in routes {
            let is_held = [&routes.writer, &routes.reader]
                .iter()
                .any(|route| matches!(route, Route::Hold { .. }));
            if is_held {
                holds.insert(name.clone(), Held::Now);
            } else if let Some(held) = holds.get_mut(name)
                && *held == Held::Now
            {
                *held = Held::Until(self.clock.monotonic());
            }
        }
        drop(holds);
        self.changed.notify_one();
    }

    /// Whether `database` is in a hold, or was a moment ago. Sidecars count their retries in a hold
    /// as connect failures, and report them up to a second late.
    pub(crate) fn holds(&self, database: &DatabaseName) -> bool {
        match self.lock().get(database) {
            None => false,
            Some(Held::Now) => true,
            Some(Held::Until(released)) => self.clock.elapsed(*released) < REPORTED_LATE,
        }
    }

    /// Ends each hold in its time, until `stop`.
    pub(super) async fn run(&self, stop: CancellationToken) {
        loop {
            let next = self.state.lock().await.next_hold_end();
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.changed.notified() => {}
                () = self.until(next) => self.end_holds().await,
            }
        }
    }

    /// Sleeps until `end` has passed; for ever when there is none.
    async fn until(&self, end: Option<UnixMillis>) {
        match end {
            Some(end) => {
                let left = end.since(self.clock.now());
                // One millisecond more: the clock counts whole ones, and at `end` it is over.
                self.clock.sleep(left + Duration::from_millis(1)).await;
            }
            None => std::future::pending().await,
        }
    }

    async fn end_holds(&self) {
        let ended = self.state.lock().await.publish_holds(self.clock.now());
        match ended {
            Ok(sequence) => {
                warn!(%sequence, "a hold reached its end: its routes refuse now");
            }
            Err(error) => {
                warn!(error = %Chain(&error), "the end of a hold could not be published");
                self.clock.sleep(RETRY).await;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<DatabaseName, Held>> {
        self.holds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Two flushes of a sidecar's statistics.
const REPORTED_LATE: Duration = Duration::from_secs(1);

/// Sidecars end a hold by themselves, too: nobody waits for this one.
const RETRY: Duration = Duration::from_secs(1);
