use std::{
    sync::Arc,
    task::{Context, Poll},
};

use super::group_slots::SlotGuard;
use crate::{
    broadcast_waker::WakerRegistration, node::NodeId, published::PublishedSnapshot,
    sequence::Sequence,
};

/// A stream's subscription to the snapshot of its group.
#[derive(Debug)]
pub(crate) struct GroupSubscription {
    slot: SlotGuard,
    registration: WakerRegistration,
    /// The slot's change counter when the subscription began.
    subscribed_at: u64,
    /// The slot's change counter at the last load.
    seen: u64,
    node: NodeId,
}

impl GroupSubscription {
    pub(super) fn new(slot: SlotGuard, node: NodeId) -> Self {
        Self {
            registration: slot.registration(),
            subscribed_at: slot.changes(),
            slot,
            seen: 0,
            node,
        }
    }

    /// The newest snapshot. [`GroupSubscription::poll_changed`] reports later changes.
    pub(crate) fn load(&mut self) -> Option<Arc<PublishedSnapshot>> {
        self.seen = self.slot.changes();
        self.slot.required(&self.node)
    }

    /// The newest snapshot. [`GroupSubscription::poll_changed`] may still report it as a change.
    pub(crate) fn peek(&self) -> Option<Arc<PublishedSnapshot>> {
        self.slot.required(&self.node)
    }

    /// Whether the stream must end. [`GroupSubscription::poll_changed`] reports that as a change,
    /// too.
    pub(crate) fn is_dismissed(&self) -> bool {
        self.slot.is_dismissed(&self.node, self.subscribed_at)
    }

    /// Ready if the group has changed since [`GroupSubscription::load`].
    pub(crate) fn poll_changed(&mut self, cx: &Context<'_>) -> Poll<()> {
        self.registration.register(cx.waker());
        if self.slot.changes() == self.seen {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    }
}

/// Reads which sequence the nodes of one group must have. It keeps the group's slot, so that a
/// lookup by name is needed once.
#[derive(Debug)]
pub(crate) struct RequiredSequence(SlotGuard);

impl RequiredSequence {
    pub(super) const fn new(slot: SlotGuard) -> Self {
        Self(slot)
    }

    /// The sequence of the snapshot that `node` of the group must have. It is older than the
    /// cache's newest one if later publishes did not include the group.
    pub(crate) fn of(&self, node: &NodeId) -> Option<Sequence> {
        self.0.required_sequence(node)
    }
}
