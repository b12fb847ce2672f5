//! Nodes that may lose their way to this server together.

use std::{collections::BTreeSet, mem, time::Duration};

use tokio::time::Instant;

/// The nodes of one cohort that have a lease, by their index in the ledger.
#[derive(Debug, Default)]
pub(super) struct Cohort {
    nodes: usize,
    /// Whose connection was closed, and when; their leases are short.
    closed: BTreeSet<(Instant, usize)>,
    /// Whose connection was closed together with many others, and when; their leases are long.
    closed_with_others: BTreeSet<(Instant, usize)>,
    /// Who was connected to a former process, and has not come to this one yet.
    restored: BTreeSet<usize>,
}

impl Cohort {
    pub(super) fn add(&mut self) {
        self.nodes += 1;
    }

    /// The node at `index`, whose absence began at `since` if it is absent, has no lease any more, or is
    /// about to get another. Returns whether the cohort has no nodes now.
    pub(super) fn remove(&mut self, index: usize, since: Instant) -> bool {
        self.nodes -= 1;
        self.closed.remove(&(since, index));
        self.closed_with_others.remove(&(since, index));
        self.restored.remove(&index);
        self.nodes == 0
    }

    /// The connection of the node at `index` was closed. Returns the nodes whose leases are to be long from
    /// now on, if too many have closed within `window` to have ended by themselves.
    pub(super) fn close(&mut self, index: usize, now: Instant, window: Duration) -> Vec<usize> {
        for closed in [&mut self.closed, &mut self.closed_with_others] {
            while closed.first().is_some_and(|(at, _)| *at + window <= now) {
                closed.pop_first();
            }
        }
        self.closed.insert((now, index));
        let gone = self.closed.len() + self.closed_with_others.len();
        if gone <= FEW.max(self.nodes / FEW_OF) && !self.is_most(gone) {
            return Vec::new();
        }
        let mut closed = mem::take(&mut self.closed);
        let indexes = closed.iter().map(|(_, index)| *index).collect();
        self.closed_with_others.append(&mut closed);
        indexes
    }

    /// The node at `index` was connected to a former process.
    pub(super) fn restore(&mut self, index: usize) {
        self.restored.insert(index);
    }

    /// The time in which restored nodes reconnect is over. Returns those whose leases are to be long from
    /// now on, if most of the cohort is missing.
    pub(super) fn miss_restored(&mut self) -> Vec<usize> {
        if self.is_most(self.restored.len()) {
            return mem::take(&mut self.restored).into_iter().collect();
        }
        Vec::new()
    }

    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.nodes
    }

    fn is_most(&self, nodes: usize) -> bool {
        2 * nodes > self.nodes
    }
}

/// So many, or one in [`FEW_OF`] of a larger cohort, end by themselves within the lease of a closed
/// connection. A fleet of 200 whose nodes are replaced at five a second has seven or eight.
const FEW: usize = 4;
const FEW_OF: usize = 10;
