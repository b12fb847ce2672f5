//! Nodes that are awaited although nobody registered them.

use tokio::time::Instant;

use super::Ledger;
use crate::{
    lease::{GivenLease, Lease},
    node::NodeId,
};

impl Ledger {
    /// The node's last stream has ended. Returns whether its lease begins to end.
    pub(super) fn begin_to_end(&mut self, node: usize, silent: bool, now: Instant) -> bool {
        let Some(lease) = &mut self.nodes[node].lease else {
            return false;
        };
        let ends = lease.begin_to_end(silent, now);
        self.lease_ends.insert((ends, node));
        true
    }

    /// Awaits a node that has no stream, as if nothing had been heard of it just now.
    pub(in crate::fleet) fn expect(&mut self, id: NodeId, terms: Lease, now: Instant) {
        let index = self.get_or_insert(id);
        let node = &mut self.nodes[index];
        if node.lease.is_none() && node.streams.is_empty() {
            node.lease = Some(GivenLease::held(terms));
            self.begin_to_end(index, true, now);
        }
    }

    /// Ends the leases whose time is over. Returns when the next one ends.
    pub(in crate::fleet) fn end_leases(&mut self, now: Instant) -> Option<Instant> {
        while let Some((ends, index)) = self.lease_ends.first().copied() {
            if ends > now {
                return Some(ends);
            }
            self.lease_ends.pop_first();
            // The node may have come back since, or be another one.
            let lease = self.nodes.get(index).and_then(|node| node.lease);
            if lease.is_some_and(|lease| lease.status.ends == Some(ends)) {
                self.end_lease(index, now);
            }
        }
        None
    }

    /// Ends the lease of `id` at once. Returns whether it had one.
    pub(in crate::fleet) fn withdraw_lease(&mut self, id: &NodeId, now: Instant) -> bool {
        let index = self.indexes.get(id).copied();
        let leased = index.filter(|index| self.nodes[*index].lease.is_some());
        if let Some(index) = leased {
            self.end_lease(index, now);
        }
        leased.is_some()
    }

    /// No barrier awaits the node any more, unless it is registered.
    fn end_lease(&mut self, index: usize, now: Instant) {
        let node = &mut self.nodes[index];
        node.lease = None;
        if node.registered {
            return;
        }
        if node.streams.is_empty() {
            let gone = *node.record.gone.get_or_insert(now);
            self.departed.push_back((index, gone));
        }
        for (_, barrier) in &mut self.barriers {
            barrier.release(index);
        }
        self.remove_departed(now);
    }
}
