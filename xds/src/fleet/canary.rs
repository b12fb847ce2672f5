//! A publish that named nodes must have accepted before anybody else gets it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use tokio::time::Instant;

use super::{Convergence, Fleet, Policy};
use crate::{cache::Stage, group::Group, node::NodeId, sequence::Sequence, snapshot::Snapshot};

/// What became of a publish to canaries.
#[derive(Clone, Debug)]
pub struct CanaryResult {
    pub decision: CanaryDecision,
    /// What the canaries did with it.
    pub convergence: Convergence,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CanaryDecision {
    /// Every canary has acknowledged it, and all nodes of the groups get it now.
    Promoted(Sequence),
    /// A canary refused it, was silent until the deadline, or is not connected. The canaries are
    /// sent the former content under this sequence, an empty one if their group had none;
    /// [`Fleet::converge`] tells when they have it.
    Withdrawn(Sequence),
    /// Something else was published to one of the groups meanwhile, which all have now, or
    /// another trial was begun there, or the group was removed. Of what the canaries tried
    /// nothing is left.
    Superseded,
}

/// A publish that its canaries are trying; dropping it gives them the former content back.
#[derive(Debug)]
pub struct CanaryTrial<'a> {
    fleet: &'a Fleet,
    stage: Stage<'a>,
    canaries: Arc<BTreeSet<NodeId>>,
}

impl Fleet {
    /// Gives `snapshots` to `canaries` alone, until [`CanaryTrial::decide`] has decided. A publish to
    /// one of the groups after this call ends the trial: it is newer, and for everybody.
    ///
    /// A canary whose group is not among `snapshots` has nothing to try and stands in nobody's
    /// way, if it is connected.
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
    /// Publishes to all once each canary has acknowledged, at once if there is none; with the
    /// first refusal, or at the deadline, the canaries get the former content back.
    pub async fn decide(self, deadline: Instant) -> CanaryResult {
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
