use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use pointsman_catalog::{Catalog, DatabaseName, NodeId, RouteChange};
use pointsman_cutover::ports::{
    Barrier, Clock, Convergence, DataPlane, DataPlaneError, Membership, Publication, Rehearsal,
};
use pointsman_xds::{Fleet, Policy, Sequence, SnapshotCache};
use tokio::{sync::Mutex, time::Instant};
use tracing::info;

use super::{
    convergence::convergence,
    fleet_view::{FleetView, SyncState},
    follower::FollowerHandle,
    leases,
    rehearsal::rehearse,
    state::PublishedState,
};

/// The sidecars, as the engine sees them: it changes routes in the catalogue, and waits until
/// the follower has published them.
#[derive(Debug)]
pub(crate) struct SidecarDataPlane {
    pub(super) catalog: Arc<Catalog>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) state: Arc<Mutex<PublishedState>>,
    pub(super) follower: FollowerHandle,
    pub(super) fleet: Arc<Fleet>,
    pub(super) cache: Arc<SnapshotCache>,
    pub(super) view: Arc<FleetView>,
}

#[async_trait]
impl DataPlane for SidecarDataPlane {
    /// Rendered before anything is recorded: routes that no sidecar could be told must not
    /// become the truth. Recorded before anything is sent: a sidecar must never know more than
    /// the store.
    async fn publish(
        &self,
        changes: &BTreeMap<DatabaseName, RouteChange>,
    ) -> Result<Publication, DataPlaneError> {
        self.state
            .lock()
            .await
            .try_routes(changes, self.clock.now())
            .map_err(|error| DataPlaneError::Render(error.to_string()))?;
        let changed = self
            .catalog
            .change_routes(changes)
            .await
            .map_err(|error| DataPlaneError::Store(Box::new(error)))?;
        let published = self.follower.until_published(changed.revision).await;
        let progress = published
            .and_then(|progress| {
                progress.check(changed.routes.keys())?;
                Ok(progress)
            })
            .map_err(|error| DataPlaneError::NotPublished(Box::new(error)))?;
        let sequence = progress.sequence.get();
        let epochs = changed.routes.into_iter();
        let epochs = epochs.map(|(name, routes)| (name, routes.epoch)).collect();
        info!(sequence, ?epochs, "routes published");
        Ok(Publication { sequence, epochs })
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
        convergence(found)
    }

    async fn rehearse(&self, deadline: Duration) -> Result<Rehearsal, DataPlaneError> {
        rehearse(&self.state, &self.fleet, &*self.clock, deadline).await
    }

    async fn membership(&self) -> Result<Membership, DataPlaneError> {
        let mut membership = Membership {
            unregistered: self.view.unregistered(),
            ..Membership::default()
        };
        self.await_members(&mut membership).await;
        let registered = self.view.nodes().into_iter().filter(|view| view.registered);
        for view in registered {
            let Ok(node) = NodeId::new(view.id.as_str()) else {
                continue;
            };
            membership.registered.push(node.clone());
            match view.state {
                SyncState::Synced | SyncState::Unregistered => {}
                SyncState::Absent => membership.absent.push(node),
                SyncState::Stale | SyncState::Lagging | SyncState::Nacked | SyncState::NotSent => {
                    membership.stale.push((node, view.message));
                }
            }
        }
        Ok(membership)
    }
}

impl SidecarDataPlane {
    /// Adds the members of sidecar groups. At any moment some of them may be coming or going, so each
    /// of those of now gets the time to come in step, or to end its lease.
    async fn await_members(&self, membership: &mut Membership) {
        let members = self.view.members();
        let found = self
            .fleet
            .converge_on(
                &members,
                self.cache.newest(),
                Policy::AllRegistered,
                Instant::now() + MEMBERS_SETTLE,
            )
            .await;
        let Convergence {
            acknowledged,
            refused,
            lagging,
            absent,
            ..
        } = convergence(found);
        let silent = "it has not acknowledged what it was sent".to_owned();
        let lagging = lagging.into_iter().map(|node| (node, silent.clone()));
        membership.stale.extend(refused.into_iter().chain(lagging));
        membership.registered.extend(acknowledged);
        let stale = membership.stale.iter().map(|(node, _)| node);
        membership.registered.extend(stale.chain(&absent).cloned());
        membership.absent = absent;
    }
}

/// A member that goes is awaited for half of this time; one that comes needs less.
const MEMBERS_SETTLE: Duration = leases::OF_MEMBERS.closed.saturating_mul(2);
