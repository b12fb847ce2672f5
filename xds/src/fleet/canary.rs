//! A publish that canaries must acknowledge before the other nodes receive it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{Convergence, Fleet, Policy};
use crate::{cache::Stage, group::Group, node::NodeId, sequence::Sequence, snapshot::Snapshot};

/// The result of a canary trial.
#[derive(Clone, Debug)]
pub struct CanaryResult {
    pub decision: CanaryDecision,
    /// What each canary answered.
    pub convergence: Convergence,
}

/// What happened to the snapshots of a canary trial.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CanaryDecision {
    /// Every canary has acknowledged them. All nodes of the groups get them now.
    Promoted(Sequence),
    /// A canary has NACKed them, has not answered before the deadline, or is not connected. The
    /// canaries are sent the former content under this sequence, or an empty snapshot if their group
    /// had none. [`Fleet::converge`] waits until they have it.
    Withdrawn(Sequence),
    /// During the trial one of the groups was published or removed, or another trial began there.
    /// Nothing of this trial remains.
    Superseded,
}

/// A publish that only its canaries have. Dropping it gives them the former content back.
#[derive(Debug)]
pub struct CanaryTrial<'a> {
    fleet: &'a Fleet,
    stage: Stage<'a>,
    canaries: Arc<BTreeSet<NodeId>>,
}

impl Fleet {
    /// Gives `snapshots` to `canaries` only, until [`CanaryTrial::decide`] has decided. A later
    /// publish to one of the groups ends the trial: that publish goes to all nodes.
    ///
    /// A canary whose group is not in `snapshots` counts as converged if it is connected.
    #[must_use]
    pub fn stage(
        &self,
        snapshots: BTreeMap<Group, Snapshot>,
        canaries: BTreeSet<NodeId>,
    ) -> CanaryTrial<'_> {
        let canaries = Arc::new(canaries);
        CanaryTrial {
            stage: self.cache.stage(snapshots, Arc::clone(&canaries)),
            fleet: self,
            canaries,
        }
    }
}

impl CanaryTrial<'_> {
    /// Publishes to all nodes once each canary has acknowledged, immediately if there are none. On
    /// the first NACK, or once `deadline` is over, the canaries get the former content back.
    pub async fn decide(self, deadline: impl Future<Output = ()>) -> CanaryResult {
        let Self {
            fleet,
            stage,
            canaries,
        } = self;
        let sequence = stage.sequence();
        let policy = Policy::AllRegistered;
        let convergence = fleet
            .converge_among(Some(&canaries), sequence, policy, deadline)
            .await;
        let decision = if !convergence.reached {
            CanaryDecision::Withdrawn(stage.withdraw())
        } else if stage.promote() {
            CanaryDecision::Promoted(sequence)
        } else {
            CanaryDecision::Superseded
        };
        CanaryResult {
            decision,
            convergence,
        }
    }
}
