//! Waiting for a fleet.

use std::{sync::Arc, time::Duration};

use tokio::{sync::oneshot, time::Instant};

use crate::{node::NodeId, resource::ResourceType, sequence::Sequence};

/// When a convergence is reached.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Policy {
    /// Every registered node has it, whether it is connected now or not. One refusal makes
    /// this impossible. An empty registry has converged: whether it may be empty is the
    /// caller's to know.
    AllRegistered,
    /// No registered node that is connected is still without an answer. A refusal is an
    /// answer: it is named, and is no veto. A node that goes away is no longer waited for.
    AllConnected,
    /// So many of a hundred registered nodes have it, rounded up; above 100: all of them.
    Percent(u8),
}

/// What became of a publish.
#[derive(Clone, Debug)]
pub struct Convergence {
    pub reached: bool,
    /// The nodes that were registered when the wait began, by id.
    pub nodes: Vec<(NodeId, Outcome)>,
    /// Other connected nodes, by id. They were not waited for.
    pub others: Vec<(NodeId, Outcome)>,
    pub took: Duration,
}

/// Where a node stands towards the sequence that is waited for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// It has acknowledged all of the content, `after` the wait began; 0 if before.
    Synced { after: Duration },
    /// It has refused some of it, and is not sent that again until it changes or the node's
    /// stream is opened anew ([`crate::SnapshotCache::dismiss`]). No resources: the whole type.
    Nacked {
        kind: ResourceType,
        resources: Vec<Arc<str>>,
        message: Arc<str>,
    },
    /// It is connected and has not answered, or not asked.
    Lagging,
    /// It is not connected.
    Absent,
}

/// A wait in progress. It counts, so that an acknowledgement changes one mark and two numbers,
/// whatever the size of the fleet.
#[derive(Debug)]
pub(super) struct Barrier {
    /// None: of something that nobody can have.
    pub(super) sequence: Option<Sequence>,
    policy: Policy,
    pub(super) began: Instant,
    /// By the node's place in the ledger.
    marks: Vec<Mark>,
    awaited: usize,
    tally: Tally,
    /// Gone once the wait is decided.
    decided: Option<oneshot::Sender<()>>,
}

/// What a barrier knows of a node.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Mark {
    #[default]
    NotAwaited,
    /// For good, whatever comes after. Microseconds since the wait began.
    Synced {
        after_us: u32,
    },
    Now(NodeConvergence),
}

/// Where a node stands towards a sequence now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum NodeConvergence {
    Synced,
    /// It has refused some of the content, and may still owe the answer to the rest.
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

    /// Waits for the node at `place` too, which stands so now.
    pub(super) fn await_node(&mut self, place: usize, state: NodeConvergence) {
        if self.marks.len() <= place {
            self.marks.resize(place + 1, Mark::NotAwaited);
        }
        if self.marks[place] == Mark::NotAwaited {
            self.awaited += 1;
            self.mark(place, state, self.began);
        }
    }

    /// Enters where an awaited node stands. Whoever had the content once counts for good, even
    /// if it goes on to newer content, or away.
    pub(super) fn enter(&mut self, place: usize, state: NodeConvergence, now: Instant) {
        if let Mark::Now(former) = self.mark_of(place)
            && former != state
        {
            self.tally.each_of(former, |count| *count -= 1);
            self.mark(place, state, now);
            self.decide();
        }
    }

    /// Whether an awaited node may still change what is known of it.
    pub(super) fn is_open_for(&self, place: usize) -> bool {
        matches!(self.mark_of(place), Mark::Now(_))
    }

    pub(super) fn mark_of(&self, place: usize) -> Mark {
        self.marks.get(place).copied().unwrap_or_default()
    }

    /// Ends the wait if nothing can change its result any more.
    pub(super) fn decide(&mut self) {
        if (self.is_reached() || self.is_impossible())
            && let Some(decided) = self.decided.take()
        {
            // Nobody listens any more: then nobody waits.
            let _ = decided.send(());
        }
    }

    pub(super) fn conclude(
        &self,
        mut nodes: Vec<(NodeId, Outcome)>,
        mut others: Vec<(NodeId, Outcome)>,
        now: Instant,
    ) -> Convergence {
        nodes.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        others.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Convergence {
            reached: self.is_reached(),
            nodes,
            others,
            took: now.saturating_duration_since(self.began),
        }
    }

    fn mark(&mut self, place: usize, state: NodeConvergence, now: Instant) {
        self.tally.each_of(state, |count| *count += 1);
        self.marks[place] = match state {
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
    /// Changes the counts that a node which stands so is in.
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
