use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use pointsman_catalog::{DatabaseName, NodeId, RouteChange};
use pointsman_cutover::ports::{
    Barrier, Convergence, DataPlane, DataPlaneError, Membership, Publication, Rehearsal,
};
use pointsman_xds::{Outcome, Policy, Sequence};
use tokio::time::Instant;

use super::{Publisher, view::State};

#[async_trait]
impl DataPlane for Publisher {
    async fn publish(
        &self,
        changes: &BTreeMap<DatabaseName, RouteChange>,
    ) -> Result<Publication, DataPlaneError> {
        self.publish_routes(changes).await
    }

    async fn converge(
        &self,
        publication: &Publication,
        barrier: Barrier,
        deadline: Duration,
    ) -> Convergence {
        let policy = match barrier {
            Barrier::AllRegistered => Policy::AllRegistered,
            Barrier::AllConnected => Policy::AllConnected,
        };
        let sequence = Sequence::from(publication.sequence);
        let found = self
            .fleet
            .converge(sequence, policy, Instant::now() + deadline)
            .await;
        convergence_of(found)
    }

    async fn rehearse(&self, deadline: Duration) -> Result<Rehearsal, DataPlaneError> {
        self.rehearsal(deadline).await
    }

    async fn membership(&self) -> Result<Membership, DataPlaneError> {
        let mut membership = Membership {
            unregistered: self.unregistered(),
            ..Membership::default()
        };
        for view in self.nodes().into_iter().filter(|view| view.registered) {
            let Ok(node) = NodeId::new(view.id.as_str()) else {
                continue;
            };
            membership.registered.push(node.clone());
            match view.state {
                State::Synced | State::Unregistered => {}
                State::Absent => membership.absent.push(node),
                State::Stale | State::Lagging | State::Nacked | State::NotSent => {
                    membership.stale.push((node, view.words));
                }
            }
        }
        Ok(membership)
    }
}

/// What the library found, in the engine's words.
pub(super) fn convergence_of(found: pointsman_xds::Convergence) -> Convergence {
    let mut convergence = Convergence {
        reached: found.reached,
        ..Convergence::default()
    };
    for (node, outcome) in found.nodes {
        // Every registered name is of our alphabet.
        let Ok(node) = NodeId::new(node.as_str()) else {
            continue;
        };
        match outcome {
            Outcome::Synced { .. } => convergence.acknowledged.push(node),
            Outcome::Nacked { message, .. } => {
                convergence.refused.push((node, message.to_string()));
            }
            Outcome::Lagging => convergence.lagging.push(node),
            Outcome::Absent => convergence.absent.push(node),
        }
    }
    convergence.unregistered = found
        .others
        .into_iter()
        .filter_map(|(node, _outcome)| NodeId::new(node.as_str()).ok())
        .collect();
    convergence
}
