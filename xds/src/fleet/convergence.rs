//! Waiting until a fleet has converged on a sequence.

use std::{sync::Arc, time::Duration};

use tokio::{sync::oneshot, time::Instant};

use crate::{node::NodeId, resource::ResourceType, sequence::Sequence};

/// When a convergence is reached.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Policy {
    /// Every node that is registered or has a lease has converged, whether it is connected now or not.
    /// One NACK makes this impossible. A node whose lease ends meanwhile is no longer waited for. An
    /// empty fleet has converged; the caller must know whether it may be empty.
    AllRegistered,
    /// Every one of these nodes that is connected has answered. A NACK is an answer: it is reported and
    /// does not prevent convergence. A node that disconnects is no longer waited for.
    AllConnected,
    /// This percentage of these nodes, rounded up, has converged. Values above 100 mean all.
    Percent(u8),
}

/// The result of a wait.
#[derive(Clone, Debug)]
pub struct Convergence {
    pub reached: bool,
    /// The nodes that were waited for, by id.
    pub nodes: Vec<(NodeId, Outcome)>,
    /// Other connected nodes, by id.
    pub others: Vec<(NodeId, Outcome)>,
    /// The nodes that were waited for until their lease ended, by id.
    pub left: Vec<NodeId>,
    pub took: Duration,
}

/// The state of a node, relative to the sequence that is waited for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// It has acknowledged all of the content. `after` is the time since the wait began; 0 if it
    /// acknowledged before that.
    Synced { after: Duration },
    /// It has NACKed some of the content. The content is not sent again until it changes or the node
    /// opens a new stream ([`crate::SnapshotCache::dismiss`]). `resources` is empty if the NACK
    /// covers the whole type.
    Nacked {
        kind: ResourceType,
        resources: Vec<Arc<str>>,
        message: Arc<str>,
    },
    /// It is connected and has not answered yet, or has not asked yet.
    Lagging,
    /// It is not connected.
    Absent,
}

/// A wait in progress. It keeps counts, so the cost of an ACK does not grow with the fleet.
#[derive(Debug)]
pub(super) struct Barrier {
    /// `None` if no node can have it.
    pub(super) sequence: Option<Sequence>,
    policy: Policy,
    pub(super) began: Instant,
    /// By the node's index in the ledger.
    marks: Vec<Mark>,
    awaited: usize,
    tally: Tally,
    /// `None` once the wait is decided.
    decided: Option<oneshot::Sender<()>>,
}

/// What a barrier knows about a node.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Mark {
    #[default]
    NotAwaited,
    /// Final, also if the node disconnects later. Microseconds since the wait began.
    Synced {
        after_us: u32,
    },
    Now(NodeConvergence),
    /// It was awaited until its lease ended.
    Released,
}

/// The current state of a node, relative to a sequence.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum NodeConvergence {
    Synced,
    /// It has NACKed some of the content. If it is lagging, it has not answered the rest.
    Nacked {
        lagging: bool,
    },
    Lagging,
    Absent,
}

#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    synced: usize,
    nacked: usize,
    lagging: usize,
}

impl Barrier {
    pub(super) fn new(
        sequence: Sequence,
        policy: Policy,
        began: Instant,
    ) -> (Self, oneshot::Receiver<()>) {
        let (decided, decision) = oneshot::channel();
        let barrier = Self {
            sequence: Some(sequence),
            policy,
            began,
            marks: Vec::new(),
            awaited: 0,
            tally: Tally::default(),
            decided: Some(decided),
        };
        (barrier, decision)
    }

    /// Adds the node at `index` to the wait. `state` is its current state.
    pub(super) fn await_node(&mut self, index: usize, state: NodeConvergence) {
        if self.marks.len() <= index {
            self.marks.resize(index + 1, Mark::NotAwaited);
        }
        if self.marks[index] == Mark::NotAwaited {
            self.awaited += 1;
            self.mark(index, state, self.began);
        }
    }

    /// Enters the state of an awaited node. A node that had the content once counts as synced for
    /// good, even if it receives newer content or disconnects.
    pub(super) fn enter(&mut self, index: usize, state: NodeConvergence, now: Instant) {
        if let Mark::Now(former) = self.mark_of(index)
            && former != state
        {
            self.tally.each_of(former, |count| *count -= 1);
            self.mark(index, state, now);
            self.decide();
        }
    }

    /// The node's lease has ended before it had the content: the wait goes on without it.
    pub(super) fn release(&mut self, index: usize) {
        if let Mark::Now(former) = self.mark_of(index) {
            self.tally.each_of(former, |count| *count -= 1);
            self.awaited -= 1;
            self.marks[index] = Mark::Released;
            self.decide();
        }
    }

    /// Whether the node is awaited and its mark is not final.
    pub(super) fn is_open_for(&self, index: usize) -> bool {
        matches!(self.mark_of(index), Mark::Now(_))
    }

    pub(super) fn mark_of(&self, index: usize) -> Mark {
        self.marks.get(index).copied().unwrap_or_default()
    }

    /// Ends the wait if its result is final.
    pub(super) fn decide(&mut self) {
        if (self.is_reached() || self.is_impossible())
            && let Some(decided) = self.decided.take()
        {
            // An error means that the wait was dropped.
            let _ = decided.send(());
        }
    }

    pub(super) fn conclude(
        &self,
        mut nodes: Vec<(NodeId, Outcome)>,
        mut others: Vec<(NodeId, Outcome)>,
        mut left: Vec<NodeId>,
        now: Instant,
    ) -> Convergence {
        nodes.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        others.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        left.sort_unstable();
        Convergence {
            reached: self.is_reached(),
            nodes,
            others,
            left,
            took: now.saturating_duration_since(self.began),
        }
    }

    fn mark(&mut self, index: usize, state: NodeConvergence, now: Instant) {
        self.tally.each_of(state, |count| *count += 1);
        self.marks[index] = match state {
            NodeConvergence::Synced => {
                let after = now.saturating_duration_since(self.began);
                let after_us = u32::try_from(after.as_micros()).unwrap_or(u32::MAX);
                Mark::Synced { after_us }
            }
            NodeConvergence::Nacked { .. } | NodeConvergence::Lagging | NodeConvergence::Absent => {
                Mark::Now(state)
            }
        };
    }

    fn is_reached(&self) -> bool {
        match self.policy {
            Policy::AllRegistered => self.tally.synced == self.awaited,
            Policy::AllConnected => self.tally.lagging == 0,
            Policy::Percent(percent) => self.tally.synced >= self.share(percent),
        }
    }

    fn is_impossible(&self) -> bool {
        match self.policy {
            Policy::AllRegistered => self.tally.nacked > 0,
            Policy::AllConnected => false,
            Policy::Percent(percent) => self.awaited - self.tally.nacked < self.share(percent),
        }
    }

    fn share(&self, percent: u8) -> usize {
        (self.awaited * usize::from(percent.min(100))).div_ceil(100)
    }
}

impl Tally {
    /// Applies `change` to each count that includes a node in this state.
    fn each_of(&mut self, state: NodeConvergence, change: impl Fn(&mut usize)) {
        match state {
            NodeConvergence::Synced => change(&mut self.synced),
            NodeConvergence::Nacked { lagging } => {
                change(&mut self.nacked);
                if lagging {
                    change(&mut self.lagging);
                }
            }
            NodeConvergence::Lagging => change(&mut self.lagging),
            NodeConvergence::Absent => {}
        }
    }
}
