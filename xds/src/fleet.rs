//! The registered and connected nodes, and what each has acknowledged.

mod canary;
mod connection;
mod convergence;
mod entry;
mod ledger;
mod observers;
mod record;
mod status;

use std::{
    collections::BTreeSet,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::{
    sync::{Notify, oneshot, watch},
    time::{Instant, sleep_until},
};

pub(crate) use self::connection::Connection;
pub use self::{
    canary::{CanaryDecision, CanaryResult, CanaryTrial},
    convergence::{Convergence, Outcome, Policy},
    observers::Observer,
    status::{About, Delivery, NodeRecord, NodeStatus, time_of_day},
};
use self::{connection::Entry, convergence::Barrier, ledger::Ledger, observers::Observers};
use crate::{
    cache::SnapshotCache,
    group::Group,
    lease::Lease,
    node::{NodeDescription, NodeId},
    peer::Peer,
    sequence::Sequence,
};

/// All registered and connected nodes, and what each has acknowledged.
pub struct Fleet {
    cache: Arc<SnapshotCache>,
    ledger: Mutex<Ledger>,
    observers: Observers,
    changes: watch::Sender<u64>,
    /// How many times streams were marked to reconnect. A stream asks the ledger only if this number
    /// has changed.
    reconnect_requests: AtomicU64,
    /// A lease begins to end.
    lease_ends: Notify,
}

impl Fleet {
    /// `cache` is the cache from which the nodes are served.
    #[must_use]
    pub fn new(cache: Arc<SnapshotCache>) -> Self {
        Self {
            ledger: Mutex::new(Ledger::new(Arc::clone(&cache))),
            observers: Observers::default(),
            cache,
            changes: watch::Sender::default(),
            reconnect_requests: AtomicU64::default(),
            lease_ends: Notify::new(),
        }
    }

    /// Replaces the set of registered nodes. A connected node that is not registered is served and
    /// reported, and no wait for convergence includes it.
    pub fn set_registered(&self, nodes: impl IntoIterator<Item = NodeId>) {
        let nodes: BTreeSet<_> = nodes.into_iter().collect();
        self.ledger().set_registered(nodes, Instant::now());
        self.changed();
    }

    /// Awaits `node`, which had a lease and was connected to a former process, until it connects or
    /// [`Lease::restored`] is over.
    pub fn expect(&self, node: NodeId, lease: Lease) {
        self.expect_as(node, lease, false);
    }

    /// Awaits `node`, which had a lease and had gone silent before this process began, until it connects or
    /// [`Lease::silent`] is over.
    pub fn expect_silent(&self, node: NodeId, lease: Lease) {
        self.expect_as(node, lease, true);
    }

    fn expect_as(&self, node: NodeId, lease: Lease, silent: bool) {
        self.ledger().expect(node, lease, silent, Instant::now());
        self.lease_ends.notify_waiters();
        self.changed();
    }

    /// Keeps the lease of `node`, which no stream holds: it ends when the node connects, or by
    /// [`Fleet::release_lease`], [`Fleet::give_up`] or [`Fleet::withdraw_lease`]. Without effect on other nodes.
    pub fn keep_lease(&self, node: &NodeId) {
        if self.unexpired().keep_lease(node) {
            self.changed();
        }
    }

    /// Lets a lease end that was kept, at the time at which it would have ended, or now if that is over.
    pub fn release_lease(&self, node: &NodeId) {
        if self.ledger().release_lease(node) {
            self.lease_ends.notify_waiters();
            drop(self.unexpired());
            self.changed();
        }
    }

    /// The nodes that have a lease which no stream holds, by id.
    #[must_use]
    pub fn away(&self) -> Vec<NodeStatus> {
        self.unexpired().away()
    }

    /// Ends the lease of `node` at once if it has one and is not connected. Returns whether it did.
    pub fn give_up(&self, node: &NodeId) -> bool {
        let given_up = self.ledger().give_up(node, Instant::now());
        if given_up {
            self.changed();
        }
        given_up
    }

    /// Ends the lease of `node` at once.
    pub fn withdraw_lease(&self, node: &NodeId) {
        if self.ledger().withdraw_lease(node, Instant::now()) {
            self.changed();
        }
    }

    /// Every node that is registered or connected, or has a lease, by id.
    #[must_use]
    pub fn status(&self) -> Vec<NodeStatus> {
        self.status_of(|_| true)
    }

    /// Those of these nodes that are `wanted`, by id.
    #[must_use]
    pub fn status_of(&self, wanted: impl Fn(&NodeId) -> bool) -> Vec<NodeStatus> {
        self.unexpired().status(wanted)
    }

    /// Everything that is recorded about one node. The record of an unregistered node is kept for
    /// about an hour after it has disconnected.
    #[must_use]
    pub fn record(&self, node: &NodeId) -> Option<NodeRecord> {
        self.unexpired().record(node)
    }

    /// The open streams of clients that are served and not counted ([`crate::Admission::observer`]), by
    /// node.
    #[must_use]
    pub fn observers(&self) -> Vec<Observer> {
        self.observers.all()
    }

    /// A number that grows with every change of [`Fleet::status`] after this call.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Waits until the fleet has converged on `sequence` or a newer snapshot according to `policy`,
    /// until a NACK has made that impossible, or until `deadline` is over, by whichever clock the
    /// caller has. The wait includes the nodes that
    /// are registered or have a lease ([`crate::Admission::lease`]) when it begins; other connected
    /// nodes are only reported, and so is one whose lease ends meanwhile. Dropping the future ends the
    /// wait.
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
    /// use tokio::time::{Duration, sleep};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), pointsman_xds::SnapshotError> {
    /// let cache = Arc::new(SnapshotCache::new());
    /// let fleet = Fleet::new(Arc::clone(&cache));
    /// fleet.set_registered([NodeId::from("sidecar-1")]);
    /// let sequence = cache.publish([(Group::new("edge"), Snapshot::builder().build()?)].into());
    ///
    /// let deadline = sleep(Duration::from_millis(20));
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
        deadline: impl Future<Output = ()>,
    ) -> Convergence {
        self.converge_among(None, sequence, policy, deadline).await
    }

    /// Like [`Fleet::converge`], for these nodes alone.
    pub async fn converge_on(
        &self,
        nodes: &BTreeSet<NodeId>,
        sequence: Sequence,
        policy: Policy,
        deadline: impl Future<Output = ()>,
    ) -> Convergence {
        self.converge_among(Some(nodes), sequence, policy, deadline)
            .await
    }

    /// Waits for `nodes`; for those that are registered or have a lease if it is `None`.
    async fn converge_among(
        &self,
        nodes: Option<&BTreeSet<NodeId>>,
        sequence: Sequence,
        policy: Policy,
        deadline: impl Future<Output = ()>,
    ) -> Convergence {
        let (barrier, decision) = Barrier::new(sequence, policy, Instant::now());
        let wait = Waiting {
            fleet: self,
            barrier: self.ledger().begin(barrier, nodes),
        };
        // After the deadline the result is the state of that moment.
        tokio::select! {
            biased;
            () = self.decided(decision) => {}
            () = deadline => {}
        }
        wait.fleet.ledger().conclude(wait.barrier, Instant::now())
    }

    /// Waits for a barrier's decision, and ends leases meanwhile.
    async fn decided(&self, mut decision: oneshot::Receiver<()>) {
        loop {
            let begins = self.lease_ends.notified();
            let next = self.ledger().end_leases(Instant::now());
            let ends = async {
                match next {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // An error means that the barrier is gone.
                _ = &mut decision => return,
                () = ends => {}
                () = begins => {}
            }
        }
    }

    pub(crate) fn connect(
        self: &Arc<Self>,
        node: NodeDescription,
        group: Group,
        peer: Peer,
        lease: Option<Lease>,
    ) -> Connection {
        let id = node.id.clone();
        let now = Instant::now();
        let reconnect_requests = self.reconnect_requests.load(Ordering::Acquire);
        let (stream, unconfirmed) = self.ledger().connect(node, group, peer, lease, now);
        self.changed();
        let entry = Entry::Stream(stream);
        Connection::new(Arc::clone(self), id, entry, reconnect_requests, unconfirmed)
    }

    /// Adds a stream that is served what `node` is served, and not counted.
    pub(crate) fn observe(
        self: &Arc<Self>,
        node: NodeDescription,
        group: Group,
        peer: Peer,
    ) -> Connection {
        let (id, now) = (node.id, Instant::now());
        let number = self.observers.add(Observer {
            node: id.clone(),
            group,
            peer,
            version: node.user_agent_version,
            since: now,
            heard: now,
        });
        Connection::new(Arc::clone(self), id, Entry::Observer(number), 0, None)
    }

    /// Notifies watchers. Called after the ledger is unlocked: a watcher that is not counted yet reads
    /// the ledger later and finds the change there.
    fn changed(&self) {
        if self.changes.receiver_count() > 0 {
            self.changes.send_modify(|number| *number += 1);
        }
    }

    /// The ledger, without the leases whose time is over.
    fn unexpired(&self) -> MutexGuard<'_, Ledger> {
        let mut ledger = self.ledger();
        ledger.end_leases(Instant::now());
        ledger
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
