//! Waiting for a fleet.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::{sync::oneshot, time::Instant};

use crate::{cache::Sequence, node::NodeId, resource::ResourceType};

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
    /// So many of a hundred registered nodes have it, rounded up.
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
    /// It has refused some of it. No resources: the whole type.
    Nacked {
        kind: ResourceType,
        resources: Vec<Arc<str>>,
        words: Arc<str>,
    },
    /// It is connected and has not answered, or not asked.
    Lagging,
    /// It is not connected.
    Absent,
}

/// A wait in progress.
#[derive(Debug)]
pub(super) struct Barrier {
    sequence: Sequence,
    policy: Policy,
    began: Instant,
    nodes: HashMap<NodeId, Outcome>,
    tally: Tally,
    /// Gone once the wait is decided.
    decided: Option<oneshot::Sender<()>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    synced: usize,
    refused: usize,
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
            sequence,
            policy,
            began,
            nodes: HashMap::new(),
            tally: Tally::default(),
            decided: Some(decided),
        };
        (barrier, decision)
    }

    /// Enters where a node stands. Whoever had the content once counts for good, even if it
    /// goes on to newer content, or away.
    pub(super) fn enter(&mut self, node: NodeId, outcome: Outcome) {
        if let Some(former) = self.nodes.get(&node) {
            if matches!(former, Outcome::Synced { .. }) {
                return;
            }
            if let Some(count) = self.tally.count(former) {
                *count -= 1;
            }
        }
        if let Some(count) = self.tally.count(&outcome) {
            *count += 1;
        }
        self.nodes.insert(node, outcome);
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

    pub(super) fn awaits(&self, node: &NodeId) -> bool {
        self.nodes.contains_key(node)
    }

    pub(super) fn sequence(&self) -> Sequence {
        self.sequence
    }

    pub(super) fn began(&self) -> Instant {
        self.began
    }

    pub(super) fn conclude(
        &self,
        others: impl Iterator<Item = (NodeId, Outcome)>,
        now: Instant,
    ) -> Convergence {
        let own = self.nodes.iter();
        let mut nodes: Vec<_> = own.map(|(node, o)| (node.clone(), o.clone())).collect();
        let mut others: Vec<_> = others.collect();
        nodes.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        others.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Convergence {
            reached: self.is_reached(),
            nodes,
            others,
            took: now.saturating_duration_since(self.began),
        }
    }

    fn is_reached(&self) -> bool {
        match self.policy {
            Policy::AllRegistered => self.tally.synced == self.nodes.len(),
            Policy::AllConnected => self.tally.lagging == 0,
            Policy::Percent(percent) => self.tally.synced >= self.share(percent),
        }
    }

    fn is_impossible(&self) -> bool {
        match self.policy {
            Policy::AllRegistered => self.tally.refused > 0,
            Policy::AllConnected => false,
            Policy::Percent(percent) => self.nodes.len() - self.tally.refused < self.share(percent),
        }
    }

    fn share(&self, percent: u8) -> usize {
        (self.nodes.len() * usize::from(percent.min(100))).div_ceil(100)
    }
}

impl Tally {
    fn count(&mut self, outcome: &Outcome) -> Option<&mut usize> {
        match outcome {
            Outcome::Synced { .. } => Some(&mut self.synced),
            Outcome::Nacked { .. } => Some(&mut self.refused),
            Outcome::Lagging => Some(&mut self.lagging),
            Outcome::Absent => None,
        }
    }
}
