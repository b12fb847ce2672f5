//! Nodes that are awaited although nobody registered them.

use tokio::time::Instant;

use super::Ledger;
use crate::{
    lease::{Absence, GivenLease, Lease},
    node::NodeId,
};

impl Ledger {
    /// Gives the node a lease that its streams hold, or none, instead of the one that it has.
    pub(super) fn give_lease(&mut self, node: usize, lease: Option<Lease>, now: Instant) {
        self.take_lease(node);
        if let Some(terms) = lease {
            let cohort = self.cohorts.entry(terms.cohort.clone());
            cohort.or_default().add();
            self.nodes[node].lease = Some(GivenLease::held(terms, now));
        }
    }

    /// Returns whether the node had one.
    fn take_lease(&mut self, node: usize) -> bool {
        let Some(lease) = self.nodes[node].lease.take() else {
            return false;
        };
        let name = &lease.terms.cohort;
        let cohort = self.cohorts.get_mut(name);
        if cohort.is_some_and(|cohort| cohort.remove(node, lease.since)) {
            self.cohorts.remove(name);
        }
        true
    }

    /// The node's last stream has ended. Returns whether its lease begins to end.
    pub(super) fn begin_to_end(&mut self, node: usize, silent: bool, now: Instant) -> bool {
        let Some(lease) = &mut self.nodes[node].lease else {
            return false;
        };
        let absence = match silent {
            true => Absence::Silent,
            false => Absence::Closed,
        };
        let ends = lease.begin_to_end(absence, now);
        self.lease_ends.insert((ends, node));
        if !silent && let Some(cohort) = self.cohorts.get_mut(&lease.terms.cohort) {
            let closed = cohort.close(node, now, lease.terms.closed);
            self.prolong(closed);
        }
        true
    }

    fn prolong(&mut self, nodes: Vec<usize>) {
        for node in nodes {
            let lease = self.nodes[node].lease.as_mut();
            if let Some(ends) = lease.and_then(GivenLease::prolong) {
                self.lease_ends.insert((ends, node));
            }
        }
    }

    /// Awaits a node that has no stream, as if it had gone just now: as one of a former process, or as one
    /// that had gone `silent` before.
    pub(in crate::fleet) fn expect(
        &mut self,
        id: NodeId,
        terms: Lease,
        silent: bool,
        now: Instant,
    ) {
        let index = self.get_or_insert(id);
        let node = &self.nodes[index];
        if node.lease.is_some() || !node.streams.is_empty() {
            return;
        }
        self.give_lease(index, Some(terms), now);
        if silent {
            self.begin_to_end(index, true, now);
        } else if let Some(lease) = &mut self.nodes[index].lease {
            let ends = lease.begin_to_end(Absence::Restored, now);
            self.lease_ends.insert((ends, index));
            if let Some(cohort) = self.cohorts.get_mut(&lease.terms.cohort) {
                cohort.restore(index);
            }
        }
    }

    /// Lets the lease of a node without a stream end only with a new stream, or when the node is given up.
    /// Returns whether that changes anything.
    pub(in crate::fleet) fn keep_lease(&mut self, id: &NodeId) -> bool {
        let index = self.indexes.get(id);
        let lease = index.and_then(|index| self.nodes[*index].lease.as_mut());
        lease.is_some_and(GivenLease::keep)
    }

    /// Lets a kept lease end when it would have. Returns whether it was kept.
    pub(in crate::fleet) fn release_lease(&mut self, id: &NodeId) -> bool {
        let Some(index) = self.indexes.get(id).copied() else {
            return false;
        };
        let lease = self.nodes[index].lease.as_mut();
        let Some(ends) = lease.and_then(GivenLease::release) else {
            return false;
        };
        self.lease_ends.insert((ends, index));
        true
    }

    /// Ends the leases whose time is over. Returns when the next one ends.
    pub(in crate::fleet) fn end_leases(&mut self, now: Instant) -> Option<Instant> {
        while let Some((ends, index)) = self.lease_ends.first().copied() {
            if ends > now {
                return Some(ends);
            }
            self.lease_ends.pop_first();
            self.prolong_restored(index, ends);
            // The node may have come back since, or be another one.
            if self.has_lease_until(index, ends) {
                self.end_lease(index, now);
            }
        }
        None
    }

    /// Whether the node at `index` has a lease that ends then.
    fn has_lease_until(&self, index: usize, ends: Instant) -> bool {
        let lease = self.nodes.get(index).and_then(|node| node.lease.as_ref());
        lease.is_some_and(|lease| lease.status.ends == Some(ends))
    }

    /// Before the lease of a restored node ends: if most of its cohort is missing as well, something may be on
    /// their way.
    fn prolong_restored(&mut self, index: usize, ends: Instant) {
        if !self.has_lease_until(index, ends) {
            return;
        }
        let Some(lease) = &self.nodes[index].lease else {
            return;
        };
        if lease.status.absence == Some(Absence::Restored)
            && let Some(cohort) = self.cohorts.get_mut(&lease.terms.cohort)
        {
            let missing = cohort.miss_restored();
            self.prolong(missing);
        }
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

    /// Ends the lease of `id` at once, unless a stream holds it. Returns whether it did.
    pub(in crate::fleet) fn give_up(&mut self, id: &NodeId, now: Instant) -> bool {
        let index = self.indexes.get(id);
        let is_away = index.is_some_and(|index| self.nodes[*index].streams.is_empty());
        is_away && self.withdraw_lease(id, now)
    }

    /// No barrier awaits the node any more, unless it is registered.
    fn end_lease(&mut self, index: usize, now: Instant) {
        self.take_lease(index);
        let node = &mut self.nodes[index];
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
