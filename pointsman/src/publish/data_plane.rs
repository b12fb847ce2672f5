use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use pointsman_catalog::{Catalog, DatabaseName, NodeId, RouteChange};
use pointsman_cutover::ports::{
    BarrierPolicy, Clock, Convergence, DataPlane, DataPlaneError, Membership, Publication,
    Rehearsal,
};
use pointsman_xds::{Fleet, Policy, Sequence, SnapshotCache};
use tokio::sync::Mutex;
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
        barrier: BarrierPolicy,
        deadline: Duration,
    ) -> Convergence {
        let policy = match barrier {
            BarrierPolicy::AllRegistered => Policy::AllRegistered,
            BarrierPolicy::AllConnected => Policy::AllConnected,
        };
        let sequence = Sequence::from(publication.sequence);
        let found = self
            .fleet
            .converge(sequence, policy, self.clock.sleep(deadline))
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
        membership.emptied = self.view.emptied_groups();
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
        let mut found = self.settled(&self.view.members()).await;
        // Who went meanwhile has a lease that ends later.
        let members = self.view.members();
        let went = found.absent.drain(..).map(|id| id.as_str().into());
        let went: BTreeSet<_> = went.filter(|id| members.contains(id)).collect();
        let later = self.settled(&went).await;
        let silent = "it has not acknowledged what it was sent".to_owned();
        for Convergence {
            acknowledged,
            refused,
            lagging,
            absent,
            ..
        } in [found, later]
        {
            let lagging = lagging.into_iter().map(|node| (node, silent.clone()));
            membership.registered.extend(acknowledged);
            for stale in refused.into_iter().chain(lagging) {
                membership.registered.push(stale.0.clone());
                membership.stale.push(stale);
            }
            membership.registered.extend(absent.iter().cloned());
            membership.absent.extend(absent);
        }
    }

    /// Waits until each of `members` is in step, or its lease has ended.
    async fn settled(&self, members: &BTreeSet<pointsman_xds::NodeId>) -> Convergence {
        let (newest, deadline) = (self.cache.newest(), self.clock.sleep(MEMBERS_SETTLE));
        let policy = Policy::AllRegistered;
        let found = self.fleet.converge_on(members, newest, policy, deadline);
        convergence(found.await)
    }
}

/// A member that goes is awaited for half of this time; one that comes needs less.
const MEMBERS_SETTLE: Duration = leases::CLOSED.saturating_mul(2);
