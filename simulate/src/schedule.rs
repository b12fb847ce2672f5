//! Time that passes from one event to the next.

use std::{
    collections::BTreeMap,
    fmt,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use crate::world::{Shared, World};

/// What happens at a moment.
pub(crate) type Act = Box<dyn FnOnce(&mut World) + Send>;

/// A place in the queue: the moment in microseconds, and the order among equals.
pub(crate) type Place = (u64, u64);

/// Everything that will happen, in its order.
#[derive(Default)]
pub(crate) struct Schedule {
    now: u64,
    placed: u64,
    queue: BTreeMap<Place, Act>,
}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Schedule")
            .field("now", &self.now)
            .field("waiting", &self.queue.len())
            .finish_non_exhaustive()
    }
}

impl Schedule {
    /// Microseconds since the beginning.
    pub(crate) fn now(&self) -> u64 {
        self.now
    }

    /// Puts `act` into the queue, `after` microseconds from now.
    pub(crate) fn put(&mut self, after: u64, act: Act) -> Place {
        self.placed += 1;
        let place = (self.now.saturating_add(after), self.placed);
        self.queue.insert(place, act);
        place
    }

    fn remove(&mut self, place: Place) {
        self.queue.remove(&place);
    }

    /// The next thing that happens; it is that late now.
    pub(crate) fn next(&mut self) -> Option<Act> {
        let (place, act) = self.queue.pop_first()?;
        self.now = place.0;
        Some(act)
    }
}

/// A wait. It leaves the queue when it is dropped.
pub(crate) struct Timer {
    shared: Shared,
    at: u64,
    place: Option<(Place, Waker)>,
}

impl Timer {
    pub(crate) fn new(shared: &Shared, wait: Duration) -> Self {
        let at = shared.world().now().saturating_add(micros(wait));
        Self {
            shared: shared.clone(),
            at,
            place: None,
        }
    }
}

impl Future for Timer {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let shared = self.shared.clone();
        let mut world = shared.world();
        if world.now() >= self.at {
            return Poll::Ready(());
        }
        match &self.place {
            Some((_, waker)) if waker.will_wake(cx.waker()) => return Poll::Pending,
            Some((place, _)) => world.schedule.remove(*place),
            None => {}
        }
        let waker = cx.waker().clone();
        let wakes = waker.clone();
        let after = self.at - world.now();
        let place = world.schedule.put(
            after,
            Box::new(move |world| {
                world.woken = true;
                wakes.wake();
            }),
        );
        self.place = Some((place, waker));
        Poll::Pending
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        if let Some((place, _)) = self.place.take() {
            self.shared.world().schedule.remove(place);
        }
    }
}

/// A wait that never ends is as long as the queue can hold.
pub(crate) fn micros(wait: Duration) -> u64 {
    u64::try_from(wait.as_micros()).unwrap_or(u64::MAX)
}
