//! A publish that named nodes must have accepted before anybody else gets it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use tokio::time::Instant;

use super::{Convergence, Fleet, Policy};
use crate::{
    cache::{Group, Sequence},
    node::NodeId,
    snapshot::Snapshot,
};

/// What became of a publish to canaries.
#[derive(Clone, Debug)]
pub struct Canary {
    pub verdict: Verdict,
    /// What the canaries did with it.
    pub convergence: Convergence,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// Every canary has acknowledged it, and all nodes of the groups get it now.
    Promoted(Sequence),
    /// A canary refused it, was silent until the deadline, or is not connected. All have the
    /// former content, the canaries again.
    Withdrawn,
    /// Something else was published to one of the groups meanwhile, which all have now. Of
    /// what the canaries tried nothing is left.
    Superseded,
}

impl Fleet {
    /// Publishes `snapshots` to `canaries` first. Once each of them has acknowledged, all nodes
    /// of the groups get them; with the first refusal, or at the deadline, the canaries get the
    /// former content back. Dropping the future withdraws too. Without canaries all get it at
    /// once.
    ///
    /// A canary whose group is not among `snapshots` has nothing to try and stands in nobody's
    /// way, if it is connected.
    pub async fn publish_canary(
        &self,
        snapshots: BTreeMap<Group, Snapshot>,
        canaries: &BTreeSet<NodeId>,
        deadline: Instant,
    ) -> Canary {
        let stage = self.cache.stage(snapshots, Arc::new(canaries.clone()));
        let sequence = stage.sequence();
        let convergence = self
            .converge_among(Some(canaries), sequence, Policy::AllRegistered, deadline)
            .await;
        let verdict = if !convergence.reached {
            drop(stage);
            Verdict::Withdrawn
        } else if stage.promote() {
            Verdict::Promoted(sequence)
        } else {
            Verdict::Superseded
        };
        Canary {
            verdict,
            convergence,
        }
    }
}
