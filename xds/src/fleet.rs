//! Who should be there, who is, and what each has acknowledged.

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

/// The acknowledgements of all nodes, against those that are registered.
pub struct Fleet {
    cache: Arc<SnapshotCache>,
    ledger: Mutex<Ledger>,
    changes: watch::Sender<u64>,
    /// How often streams were called back: most never are, and look at nothing else.
    recalls: AtomicU64,
}

impl Fleet {
    /// `cache` is the one that the nodes are served from.
    #[must_use]
    pub fn new(cache: Arc<SnapshotCache>) -> Self {
        Self {
            ledger: Mutex::new(Ledger::new(Arc::clone(&cache))),
            cache,
            changes: watch::Sender::default(),
            recalls: AtomicU64::default(),
        }
    }

    /// Says which nodes should be there. A node that is connected and not named is served
    /// and shown, and no barrier waits for it.
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

    /// Of those, the nodes that are `wanted`.
    #[must_use]
    pub fn status_of(&self, wanted: impl Fn(&NodeId) -> bool) -> Vec<NodeStatus> {
        self.ledger().status(wanted)
    }

    /// Everything on record about one node: also if it went and is not registered, for about
    /// an hour.
    #[must_use]
    pub fn record(&self, node: &NodeId) -> Option<NodeRecord> {
        self.ledger().record(node)
    }

    /// A number that grows with every change of [`Fleet::status`] that comes after this call.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Waits until the fleet has `sequence`, or a newer snapshot, by `policy`; until a
    /// refusal has made that impossible; or until `deadline`. The nodes waited for are those
    /// registered when it begins; others are named. Dropping the future ends the wait.
    ///
    /// A node has a snapshot when what it acknowledged last equals the content, for each type
    /// that it subscribes to, and nothing is on its way to it: whether anything had to be
    /// sent or not. A node with several open streams has what all of them have.
    ///
    /// A client asks for one type after the other. If the snapshot holds both clusters and
    /// listeners, one that takes either by wildcard does not have it before it has asked for
    /// both; and one that has asked for nothing by which it sends traffic does not have a
    /// snapshot that holds such. That goes for aggregated streams: of a client that comes back
    /// with a stream for each type, those count that are open.
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

    /// Waits for the named nodes in the place of those registered, or for these.
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
        // Past the deadline the answer is what there is.
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
        let recalls = self.recalls.load(Ordering::Acquire);
        let (stream, unconfirmed) = self.ledger().connect(node, group, peer, now);
        self.changed();
        Connection {
            fleet: Arc::clone(self),
            node: id,
            stream,
            recalls: Cell::new(recalls),
            recalled: Cell::new(false),
            unconfirmed,
        }
    }

    /// Called after the ledger was unlocked: whoever begins to watch and is not counted yet
    /// reads the ledger later, and finds the change there.
    fn changed(&self) {
        if self.changes.receiver_count() > 0 {
            self.changes.send_modify(|number| *number += 1);
        }
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        // A panic elsewhere leaves at worst one node's status behind; the others' count.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fleet").finish_non_exhaustive()
    }
}

/// One open stream's entry in the ledger; dropping it takes the entry out.
#[derive(Debug)]
pub(crate) struct Connection {
    fleet: Arc<Fleet>,
    node: NodeId,
    /// The place of the stream's entry.
    stream: usize,
    /// The fleet's, when the ledger was last asked.
    recalls: Cell<u64>,
    recalled: Cell<bool>,
    /// What the client may have, as known when the stream began, and when it ends.
    unconfirmed: Option<Box<UnconfirmedByType>>,
}

impl Connection {
    /// Enters how the stream's client stands now.
    pub(crate) fn report(&self, machine: &mut Machine) {
        // Worked out before the ledger is locked for everybody.
        let (newest, synced_to) = (machine.newest(), machine.synced_to());
        self.fleet
            .ledger()
            .report(self.stream, newest, synced_to, machine.changes());
        self.fleet.changed();
    }

    /// What the client may have from former streams and not tell of.
    pub(crate) fn take_unconfirmed(&mut self) -> Option<Box<UnconfirmedByType>> {
        self.unconfirmed.take()
    }

    /// Keeps what the client may have for its next stream. Called when this one ends.
    pub(crate) fn keep_unconfirmed(&mut self, machine: &Machine) {
        for (kind, resources) in machine.unconfirmed() {
            if !resources.is_empty() {
                self.unconfirmed
                    .get_or_insert_default()
                    .set(kind, resources);
            }
        }
    }

    /// Whether the client must open its stream again, to be told what was not known when it
    /// opened this one. Nobody is woken for it: every publish makes its streams look, and each
    /// sign of life.
    pub(crate) fn is_recalled(&self) -> bool {
        let recalls = self.fleet.recalls.load(Ordering::Acquire);
        if self.recalls.replace(recalls) != recalls {
            self.recalled
                .set(self.fleet.ledger().is_recalled(self.stream));
        }
        self.recalled.get()
    }

    pub(crate) fn node(&self) -> &NodeId {
        &self.node
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let unconfirmed = self.unconfirmed.take();
        let mut ledger = self.fleet.ledger();
        let recalled = ledger.disconnect(self.stream, unconfirmed, Instant::now());
        drop(ledger);
        if recalled {
            self.fleet.recalls.fetch_add(1, Ordering::Release);
        }
        self.fleet.changed();
    }
}

/// Takes its barrier out of the ledger, also when the waiting is given up.
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
