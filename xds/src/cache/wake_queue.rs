use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use tokio::sync::Notify;

use super::group_slots::SlotGuard;

/// The groups whose streams are to be woken.
#[derive(Debug, Default)]
pub(super) struct WakeQueue {
    slots: Mutex<VecDeque<SlotGuard>>,
    added: Notify,
}

impl WakeQueue {
    /// Adds the slots that are not in the queue yet.
    pub(super) fn add(&self, mut slots: Vec<SlotGuard>) {
        slots.retain(|slot| !slot.set_queued(true));
        let mut queue = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        queue.extend(slots);
        self.added.notify_one();
    }

    /// Wakes the streams of each group in the queue, for as long as it is polled.
    pub(super) async fn run(&self) {
        loop {
            self.added.notified().await;
            while let Some(slot) = self.next() {
                WakingSlot::new(self, slot).wake_streams().await;
            }
        }
    }

    fn next(&self) -> Option<SlotGuard> {
        let mut queue = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        queue.pop_front()
    }
}

/// A slot whose streams are being woken. If it is dropped before all are woken, the slot returns
/// to the queue.
#[derive(Debug)]
struct WakingSlot<'a> {
    queue: &'a WakeQueue,
    slot: Option<SlotGuard>,
}

impl<'a> WakingSlot<'a> {
    fn new(queue: &'a WakeQueue, slot: SlotGuard) -> Self {
        // Before the first wake-up, so that a publish from here on queues the slot again.
        slot.set_queued(false);
        Self {
            queue,
            slot: Some(slot),
        }
    }

    async fn wake_streams(mut self) {
        if let Some(slot) = &self.slot {
            slot.wake_streams().await;
        }
        self.slot = None;
    }
}

impl Drop for WakingSlot<'_> {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            self.queue.add(vec![slot]);
        }
    }
}
