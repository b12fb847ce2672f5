//! Who should be there, who is, and what each has acknowledged.

mod convergence;
mod ledger;
mod status;

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

use self::{
    convergence::Barrier,
    ledger::{Ledger, StreamId},
};
pub use self::{
    convergence::{Convergence, Outcome, Policy},
    status::NodeStatus,
};
use crate::{
    cache::{Group, Sequence, SnapshotCache},
    node::{NodeDescription, NodeId},
    stream::Machine,
};

/// The acknowledgements of all nodes, against those that are registered.
pub struct Fleet {
    ledger: Mutex<Ledger>,
    changes: watch::Sender<u64>,
}

impl Fleet {
    /// `cache` is the one that the nodes are served from.
    #[must_use]
    pub fn new(cache: Arc<SnapshotCache>) -> Self {
        Self {
            ledger: Mutex::new(Ledger::new(cache)),
            changes: watch::Sender::default(),
        }
    }

    /// Says which nodes should be there. A node that is connected and not named is served
    /// and shown, and no barrier waits for it.
    pub fn set_registered(&self, nodes: impl IntoIterator<Item = NodeId>) {
        let nodes: BTreeSet<_> = nodes.into_iter().collect();
        self.ledger().set_registered(nodes);
        self.changed();
    }

    /// Every node that is registered or connected, by id.
    #[must_use]
    pub fn status(&self) -> Vec<NodeStatus> {
        self.ledger().status()
    }

    /// A number that grows with every change of [`Fleet::status`].
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
    pub async fn converge(
        &self,
        sequence: Sequence,
        policy: Policy,
        deadline: Instant,
    ) -> Convergence {
        let (barrier, decision) = Barrier::new(sequence, policy, Instant::now());
        let wait = Waiting {
            fleet: self,
            id: self.ledger().begin(barrier),
        };
        // Past the deadline the answer is what there is.
        let _ = timeout_at(deadline, decision).await;
        wait.fleet.ledger().conclude(wait.id, Instant::now())
    }

    pub(crate) fn connect(self: &Arc<Self>, node: NodeDescription, group: Group) -> Connection {
        let id = node.id.clone();
        let stream = self.ledger().connect(node, group, Instant::now());
        self.changed();
        Connection {
            fleet: Arc::clone(self),
            node: id,
            stream,
        }
    }

    fn changed(&self) {
        self.changes.send_modify(|number| *number += 1);
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
    stream: StreamId,
}

impl Connection {
    /// Enters how the stream's client stands now.
    pub(crate) fn report(&self, machine: &mut Machine) {
        self.fleet.ledger().report(&self.node, self.stream, machine);
        self.fleet.changed();
    }

    pub(crate) fn node(&self) -> &NodeId {
        &self.node
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.fleet.ledger().disconnect(&self.node, self.stream);
        self.fleet.changed();
    }
}

/// Takes its barrier out of the ledger, also when the waiting is given up.
struct Waiting<'a> {
    fleet: &'a Fleet,
    id: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.fleet.ledger().forget(self.id);
    }
}

#[cfg(test)]
mod tests;
