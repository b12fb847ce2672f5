//! Wakes many tasks at the expense of the one that rings.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Waker,
};

use slab::Slab;
use tokio::task::yield_now;

/// Tasks that wait for the same thing. A clone is the same bell.
#[derive(Clone, Default)]
pub(crate) struct Bell(Arc<Mutex<Slab<Waker>>>);

impl Bell {
    /// Wakes every task that holds a rope, some at a time, so that the first are served while
    /// the last are woken.
    pub(crate) async fn ring(&self) {
        let mut first = 0;
        loop {
            {
                let wakers = self.wakers();
                if first >= wakers.capacity() {
                    return;
                }
                let some = first..first + AT_ONCE;
                some.filter_map(|at| wakers.get(at))
                    .for_each(Waker::wake_by_ref);
            }
            first += AT_ONCE;
            yield_now().await;
        }
    }

    fn wakers(&self) -> MutexGuard<'_, Slab<Waker>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Bell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Bell").field(&self.wakers().len()).finish()
    }
}

/// A task's hold on a bell; dropping it lets go.
#[derive(Debug)]
pub(crate) struct Rope {
    bell: Bell,
    held: Option<(usize, Waker)>,
}

impl Rope {
    pub(crate) const fn new(bell: Bell) -> Self {
        Self { bell, held: None }
    }

    /// From here on the bell wakes this task. What it stands for must be looked at after this
    /// call, not before.
    pub(crate) fn hold(&mut self, waker: &Waker) {
        match &mut self.held {
            Some((_, held)) if held.will_wake(waker) => {}
            Some((at, held)) => {
                held.clone_from(waker);
                self.bell.wakers()[*at].clone_from(waker);
            }
            None => {
                let at = self.bell.wakers().insert(waker.clone());
                self.held = Some((at, waker.clone()));
            }
        }
    }
}

impl Drop for Rope {
    fn drop(&mut self) {
        if let Some((at, _)) = self.held.take() {
            let mut wakers = self.bell.wakers();
            wakers.remove(at);
            if wakers.is_empty() {
                wakers.shrink_to_fit();
            }
        }
    }
}

/// Enough to keep every core busy, few enough to be woken in some ten microseconds.
const AT_ONCE: usize = 256;

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, task::Poll};

    use tokio::task::JoinSet;

    use super::*;

    #[tokio::test]
    async fn a_ring_wakes_everybody_who_holds_a_rope() {
        let bell = Bell::default();
        let mut tasks = JoinSet::new();
        for _ in 0..3 * AT_ONCE {
            let mut rope = Rope::new(bell.clone());
            tasks.spawn(async move {
                let mut polls = 0;
                poll_fn(|cx| {
                    rope.hold(cx.waker());
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
        while bell.wakers().len() < 3 * AT_ONCE {
            yield_now().await;
        }
        bell.ring().await;
        while tasks.join_next().await.is_some() {}
        assert!(bell.wakers().is_empty());
    }
}
