use std::{
    cell::Cell,
    sync::{Arc, atomic::Ordering},
};

use tokio::time::Instant;

use super::Fleet;
use crate::{
    node::NodeId,
    stream::{Machine, UnconfirmedByType},
};

/// One open stream's entry in the fleet. Dropping it removes the entry.
#[derive(Debug)]
pub(crate) struct Connection {
    fleet: Arc<Fleet>,
    node: NodeId,
    entry: Entry,
    /// The fleet's number of reconnect requests when the ledger was last asked.
    reconnect_requests: Cell<u64>,
    must_reconnect: Cell<bool>,
    /// What the client may have without having acknowledged it: from former streams when the stream
    /// begins, from this one when it ends.
    unconfirmed: Option<Box<UnconfirmedByType>>,
    /// It ends because nothing is heard of the client.
    silent: bool,
}

/// Where a stream is entered.
#[derive(Clone, Copy, Debug)]
pub(super) enum Entry {
    /// In the ledger, under this index.
    Stream(usize),
    /// Among the observers, under this number.
    Observer(usize),
}

impl Connection {
    /// The stream of `node` at `entry`.
    pub(super) fn new(
        fleet: Arc<Fleet>,
        node: NodeId,
        entry: Entry,
        reconnect_requests: u64,
        unconfirmed: Option<Box<UnconfirmedByType>>,
    ) -> Self {
        Self {
            fleet,
            node,
            entry,
            reconnect_requests: Cell::new(reconnect_requests),
            must_reconnect: Cell::new(false),
            unconfirmed,
            silent: false,
        }
    }

    /// Enters the client's current status.
    pub(crate) fn report(&self, machine: &mut Machine) {
        let Entry::Stream(stream) = self.entry else {
            return;
        };
        // Computed before the ledger is locked for all others.
        let (newest, synced_to) = (machine.newest(), machine.synced_to());
        self.fleet
            .ledger()
            .report(stream, newest, synced_to, machine.changes());
        self.fleet.changed();
    }

    /// A request came.
    pub(crate) fn heard(&self, at: Instant) {
        // Of a counted stream the ledger has more.
        if let Entry::Observer(number) = self.entry {
            self.fleet.observers.hear(number, at);
        }
    }

    /// What the client may have from former streams without reporting it.
    pub(crate) fn take_unconfirmed(&mut self) -> Option<Box<UnconfirmedByType>> {
        self.unconfirmed.take()
    }

    /// Keeps what the client may have, for its next stream. Called when this one ends.
    pub(crate) fn keep_unconfirmed(&mut self, machine: &Machine) {
        for (kind, resources) in machine.unconfirmed() {
            if !resources.is_empty() {
                self.unconfirmed
                    .get_or_insert_default()
                    .set(kind, resources);
            }
        }
    }

    /// Whether the client must open its stream again, because what it may have was not known when
    /// this stream began. No task is woken for it: streams check it on each publish and each
    /// keep-alive.
    pub(crate) fn must_reconnect(&self) -> bool {
        let Entry::Stream(stream) = self.entry else {
            return false;
        };
        let requests = self.fleet.reconnect_requests.load(Ordering::Acquire);
        if self.reconnect_requests.replace(requests) != requests {
            self.must_reconnect
                .set(self.fleet.ledger().must_reconnect(stream));
        }
        self.must_reconnect.get()
    }

    /// Nothing is heard of the client; the stream ends for that.
    pub(crate) fn lost(&mut self) {
        self.silent = true;
    }

    pub(crate) fn node(&self) -> &NodeId {
        &self.node
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let stream = match self.entry {
            Entry::Stream(stream) => stream,
            Entry::Observer(number) => return self.fleet.observers.remove(number),
        };
        let unconfirmed = self.unconfirmed.take();
        let mut ledger = self.fleet.ledger();
        let others_must_reconnect =
            ledger.disconnect(stream, unconfirmed, self.silent, Instant::now());
        drop(ledger);
        self.fleet.lease_ends.notify_waiters();
        if others_must_reconnect {
            self.fleet
                .reconnect_requests
                .fetch_add(1, Ordering::Release);
        }
        self.fleet.changed();
    }
}
