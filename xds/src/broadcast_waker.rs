//! Wakes many tasks at once. The cost falls on the task that wakes them.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Waker,
};

use slab::Slab;
use tokio::task::yield_now;

/// The wakers of all tasks that wait for one thing. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct BroadcastWaker(Arc<Mutex<Slab<Waker>>>);

impl BroadcastWaker {
    /// Wakes every registered task, in batches. It yields between two batches, so the first tasks
    /// run while the last ones are being woken.
    pub(crate) async fn wake_all(&self) {
        let mut first = 0;
        loop {
            {
                let wakers = self.wakers();
                if first >= wakers.capacity() {
                    return;
                }
                let batch = first..first + BATCH;
                batch
                    .filter_map(|at| wakers.get(at))
                    .for_each(Waker::wake_by_ref);
            }
            first += BATCH;
            yield_now().await;
        }
    }

    fn wakers(&self) -> MutexGuard<'_, Slab<Waker>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for BroadcastWaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BroadcastWaker")
            .field(&self.wakers().len())
            .finish()
    }
}

/// One task's registration with a [`BroadcastWaker`]. Dropping it removes the task.
#[derive(Debug)]
pub(crate) struct WakerRegistration {
    waker: BroadcastWaker,
    /// The task's index among the wakers, and its waker.
    entry: Option<(usize, Waker)>,
}

impl WakerRegistration {
    pub(crate) const fn new(waker: BroadcastWaker) -> Self {
        Self { waker, entry: None }
    }

    /// Adds or updates this task's waker. Check the awaited condition after this call, not before:
    /// a wake-up in between would be lost.
    pub(crate) fn register(&mut self, waker: &Waker) {
        match &mut self.entry {
            Some((_, registered)) if registered.will_wake(waker) => {}
            Some((at, registered)) => {
                registered.clone_from(waker);
                self.waker.wakers()[*at].clone_from(waker);
            }
            None => {
                let at = self.waker.wakers().insert(waker.clone());
                self.entry = Some((at, waker.clone()));
            }
        }
    }
}

impl Drop for WakerRegistration {
    fn drop(&mut self) {
        if let Some((at, _)) = self.entry.take() {
            let mut wakers = self.waker.wakers();
            wakers.remove(at);
            if wakers.is_empty() {
                wakers.shrink_to_fit();
            }
        }
    }
}

/// Tasks woken without a yield: enough to keep every core busy, few enough to take about ten
/// microseconds.
const BATCH: usize = 256;

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, task::Poll};

    use tokio::task::JoinSet;

    use super::*;

    #[tokio::test]
    async fn every_registered_task_is_woken() {
        let broadcast = BroadcastWaker::default();
        let mut tasks = JoinSet::new();
        for _ in 0..3 * BATCH {
            let mut registration = WakerRegistration::new(broadcast.clone());
            tasks.spawn(async move {
                let mut polls = 0;
                poll_fn(|cx| {
                    registration.register(cx.waker());
                    polls += 1;
                    if polls == 2 {
                        Poll::Ready(())
                    } else {
                        Poll::Pending
                    }
                })
                .await;
            });
        }
        while broadcast.wakers().len() < 3 * BATCH {
            yield_now().await;
        }
        broadcast.wake_all().await;
        while tasks.join_next().await.is_some() {}
        assert!(broadcast.wakers().is_empty());
    }
}
