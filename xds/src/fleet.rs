//! The registered and connected nodes, and what each has acknowledged.

mod canary;
mod convergence;
mod entry;
mod ledger;
mod record;
mod status;

use std::{
    cell::Cell,
    collections::BTreeSet,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

pub use self::{
    canary::{CanaryDecision, CanaryResult, CanaryTrial},
    convergence::{Convergence, Outcome, Policy},
    status::{About, Delivery, NodeRecord, NodeStatus, time_of_day},
};
use self::{convergence::Barrier, ledger::Ledger};
use crate::{
    cache::SnapshotCache,
    group::Group,
    node::{NodeDescription, NodeId},
    peer::Peer,
    sequence::Sequence,
    stream::{Machine, UnconfirmedByType},
};

/// All registered and connected nodes, and what each has acknowledged.
pub struct Fleet {
    cache: Arc<SnapshotCache>,
    ledger: Mutex<Ledger>,
    changes: watch::Sender<u64>,
    /// How many times streams were marked to reconnect. A stream asks the ledger only if this number
    /// has changed.
    reconnect_requests: AtomicU64,
}

impl Fleet {
    /// `cache` is the cache from which the nodes are served.
    #[must_use]
    pub fn new(cache: Arc<SnapshotCache>) -> Self {
        Self {
            ledger: Mutex::new(Ledger::new(Arc::clone(&cache))),
            cache,
            changes: watch::Sender::default(),
            reconnect_requests: AtomicU64::default(),
        }
    }

    /// Replaces the set of registered nodes. A connected node that is not registered is served and
    /// reported, and no wait for convergence includes it.
    pub fn set_registered(&self, nodes: impl IntoIterator<Item = NodeId>) {
        let nodes: BTreeSet<_> = nodes.into_iter().collect();
        self.ledger().set_registered(nodes, Instant::now());
        self.changed();
    }

    /// Every node that is registered or connected, by id.
    #[must_use]
    pub fn status(&self) -> Vec<NodeStatus> {
        self.status_of(|_| true)
    }

    /// The registered or connected nodes that are `wanted`, by id.
    #[must_use]
    pub fn status_of(&self, wanted: impl Fn(&NodeId) -> bool) -> Vec<NodeStatus> {
        self.ledger().status(wanted)
    }

    /// Everything that is recorded about one node. The record of an unregistered node is kept for
    /// about an hour after it has disconnected.
    #[must_use]
    pub fn record(&self, node: &NodeId) -> Option<NodeRecord> {
        self.ledger().record(node)
    }

    /// A number that grows with every change of [`Fleet::status`] after this call.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Waits until the fleet has converged on `sequence` or a newer snapshot according to `policy`,
    /// until a NACK has made that impossible, or until `deadline`. The wait includes the nodes that
    /// are registered when it begins; other connected nodes are only reported. Dropping the future
    /// ends the wait.
    ///
    /// A node has converged on a snapshot if, for each type that it subscribes to, it has
    /// acknowledged equal content and nothing is in flight. It does not matter whether anything had
    /// to be sent. If a node has several open streams, all of them must have converged.
    ///
    /// A client asks for one type after the other. On an aggregated stream it has not converged
    /// before it has asked for what it needs:
    /// - A client that takes clusters or listeners by wildcard must have asked for both, if the
    ///   snapshot holds both.
    /// - Any other client must have asked for at least one type by which it forwards traffic, if
    ///   the snapshot holds such a type.
    ///
    /// Of a client with one stream per type, the open streams count.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// use pointsman_xds::{Fleet, Group, NodeId, Outcome, Policy, Snapshot, SnapshotCache};
    /// use tokio::time::{Duration, Instant};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), pointsman_xds::SnapshotError> {
    /// let cache = Arc::new(SnapshotCache::new());
    /// let fleet = Fleet::new(Arc::clone(&cache));
    /// fleet.set_registered([NodeId::from("sidecar-1")]);
    /// let sequence = cache.publish([(Group::new("edge"), Snapshot::builder().build()?)].into());
    ///
    /// let deadline = Instant::now() + Duration::from_millis(20);
    /// let convergence = fleet.converge(sequence, Policy::AllRegistered, deadline).await;
    /// assert!(!convergence.reached);
    /// assert_eq!(convergence.nodes, [(NodeId::from("sidecar-1"), Outcome::Absent)]);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn converge(
        &self,
        sequence: Sequence,
        policy: Policy,
        deadline: Instant,
    ) -> Convergence {
        self.converge_among(None, sequence, policy, deadline).await
    }

    /// Waits for `nodes`; for the registered nodes if it is `None`.
    async fn converge_among(
        &self,
        nodes: Option<&BTreeSet<NodeId>>,
        sequence: Sequence,
        policy: Policy,
        deadline: Instant,
    ) -> Convergence {
        let (barrier, decision) = Barrier::new(sequence, policy, Instant::now());
        let wait = Waiting {
            fleet: self,
            barrier: self.ledger().begin(barrier, nodes),
        };
        // After the deadline the result is the state of that moment.
        let _ = timeout_at(deadline, decision).await;
        wait.fleet.ledger().conclude(wait.barrier, Instant::now())
    }

    pub(crate) fn connect(
        self: &Arc<Self>,
        node: NodeDescription,
        group: Group,
        peer: Peer,
    ) -> Connection {
        let id = node.id.clone();
        let now = Instant::now();
        let reconnect_requests = self.reconnect_requests.load(Ordering::Acquire);
        let (stream, unconfirmed) = self.ledger().connect(node, group, peer, now);
        self.changed();
        Connection {
            fleet: Arc::clone(self),
            node: id,
            stream,
            reconnect_requests: Cell::new(reconnect_requests),
            must_reconnect: Cell::new(false),
            unconfirmed,
        }
    }

    /// Notifies watchers. Called after the ledger is unlocked: a watcher that is not counted yet reads
    /// the ledger later and finds the change there.
    fn changed(&self) {
        if self.changes.receiver_count() > 0 {
            self.changes.send_modify(|number| *number += 1);
        }
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        // After a panic at most one node's status is outdated.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fleet").finish_non_exhaustive()
    }
}

/// One open stream's entry in the ledger. Dropping it removes the entry.
#[derive(Debug)]
pub(crate) struct Connection {
    fleet: Arc<Fleet>,
    node: NodeId,
    /// The index of the stream's entry.
    stream: usize,
    /// The fleet's number of reconnect requests when the ledger was last asked.
    reconnect_requests: Cell<u64>,
    must_reconnect: Cell<bool>,
    /// What the client may have without having acknowledged it: from former streams when the stream
    /// begins, from this one when it ends.
    unconfirmed: Option<Box<UnconfirmedByType>>,
}

impl Connection {
    /// Enters the client's current status.
    pub(crate) fn report(&self, machine: &mut Machine) {
        // Computed before the ledger is locked for all others.
        let (newest, synced_to) = (machine.newest(), machine.synced_to());
        self.fleet
            .ledger()
            .report(self.stream, newest, synced_to, machine.changes());
        self.fleet.changed();
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
        let requests = self.fleet.reconnect_requests.load(Ordering::Acquire);
        if self.reconnect_requests.replace(requests) != requests {
            self.must_reconnect
                .set(self.fleet.ledger().must_reconnect(self.stream));
        }
        self.must_reconnect.get()
    }

    pub(crate) fn node(&self) -> &NodeId {
        &self.node
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let unconfirmed = self.unconfirmed.take();
        let mut ledger = self.fleet.ledger();
        let others_must_reconnect = ledger.disconnect(self.stream, unconfirmed, Instant::now());
        drop(ledger);
        if others_must_reconnect {
            self.fleet
                .reconnect_requests
                .fetch_add(1, Ordering::Release);
        }
        self.fleet.changed();
    }
}

/// Removes its barrier from the ledger, also if the wait is dropped.
struct Waiting<'a> {
    fleet: &'a Fleet,
    barrier: usize,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.fleet.ledger().end(self.barrier, Instant::now());
    }
}

#[cfg(test)]
mod tests;
