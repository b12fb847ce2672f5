//! The catalogue on its way to the sidecars.
//!
//! ```text
//!  admin, engine, resolver ─► Catalog ─► Store ─► Follower ─► PublishedState ─► SnapshotCache ─► streams
//!                                                                ▲
//!                       HoldTimer, ProbeSchedule, directories ───┘
//! ```
//!
//! To change what sidecars have, change the catalogue. The follower watches the store, reads what
//! was written, renders it and publishes it. The end of a hold, a probe and the snapshot of a new
//! group do not come from the catalogue; they are published beside it, under the same lock.

mod access_denials;
mod address_book;
mod audience;
mod catalog_copy;
mod convergence;
mod data_plane;
mod directory;
mod fleet_view;
mod follower;
mod hold_timer;
mod leases;
mod member_record;
mod name_lookup;
mod probe_schedule;
mod registry;
mod rehearsal;
mod render;
mod resolver;
mod snapshots;
mod state;

use std::sync::Arc;

use anyhow::{Context as _, bail};
use pointsman_catalog::Catalog;
use pointsman_cutover::ports::Clock;
use pointsman_xds::{Fleet, NodeDirectory, SnapshotCache};
use tokio::{sync::Mutex, task::JoinSet};
use tokio_util::sync::CancellationToken;

pub(crate) use access_denials::{AccessDenial, AccessDenials};
pub(crate) use address_book::AddressBook;
pub(crate) use data_plane::SidecarDataPlane;
pub(crate) use fleet_view::{FleetView, NodeView, TypeView, micros};
pub(crate) use follower::{FollowerHandle, NotPublished};
pub(crate) use hold_timer::HoldTimer;
pub(crate) use probe_schedule::ProbeSchedule;
pub(crate) use registry::Registry;
pub(crate) use resolver::{ResolveError, Resolver};

use directory::{Admissions, CertificateDirectory, PlaintextDirectory};
use follower::{Follower, FollowerParts};
use member_record::MemberRecord;
use state::PublishedState;

/// Everything between the catalogue and the sidecars' streams, joined.
#[derive(Clone, Debug)]
pub(crate) struct Publishing {
    /// What streams are answered from.
    pub(crate) cache: Arc<SnapshotCache>,
    /// Who has acknowledged what.
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) data_plane: Arc<SidecarDataPlane>,
    pub(crate) follower: FollowerHandle,
    pub(crate) resolver: Arc<Resolver>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) addresses: Arc<AddressBook>,
    pub(crate) holds: Arc<HoldTimer>,
    pub(crate) probes: Arc<ProbeSchedule>,
    pub(crate) denials: Arc<AccessDenials>,
    pub(crate) view: Arc<FleetView>,
    admissions: Admissions,
}

/// The tasks of [`Publishing`], started by [`Background::spawn`].
#[derive(Debug)]
pub(crate) struct Background {
    follower: Follower,
    members: MemberRecord,
    publishing: Publishing,
}

/// Publishes everything that the catalogue holds; when this returns, any sidecar can be
/// answered in full.
pub(crate) async fn restore(
    catalog: Arc<Catalog>,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<(Publishing, Background)> {
    let cache = Arc::new(SnapshotCache::new());
    let fleet = Arc::new(Fleet::new(Arc::clone(&cache)));
    let state = Arc::new(Mutex::new(PublishedState::new(Arc::clone(&cache))));
    let registry = Registry::new(Arc::clone(&fleet), Arc::clone(&cache), Arc::clone(&clock));
    let registry = Arc::new(registry);
    let view = Arc::new(FleetView::new(Arc::clone(&fleet), Arc::clone(&registry)));
    let addresses = Arc::new(AddressBook::default());
    let holds = Arc::new(HoldTimer::new(Arc::clone(&state), Arc::clone(&clock)));
    let resolver = Arc::new(Resolver::new(Arc::clone(&catalog)));
    resolver
        .resolve()
        .await
        .context("the addresses of servers could not be read")?;
    let parts = FollowerParts {
        state: Arc::clone(&state),
        registry: Arc::clone(&registry),
        addresses: Arc::clone(&addresses),
        holds: Arc::clone(&holds),
    };
    let mut follower = Follower::new(Arc::clone(&catalog), Arc::clone(&clock), parts);
    follower
        .turn()
        .await
        .context("the catalogue cannot be read")?;
    if let Some(reason) = follower.progress().obstacle() {
        bail!("the databases of the store cannot be published: {reason}");
    }
    let members = MemberRecord::restore(Arc::clone(&catalog), Arc::clone(&registry))
        .await
        .context("the members of sidecar groups cannot be read")?;
    let handle = follower.handle();
    let data_plane = SidecarDataPlane {
        catalog,
        clock: Arc::clone(&clock),
        state: Arc::clone(&state),
        follower: handle.clone(),
        fleet: Arc::clone(&fleet),
        cache: Arc::clone(&cache),
        view: Arc::clone(&view),
    };
    let publishing = Publishing {
        cache,
        fleet,
        data_plane: Arc::new(data_plane),
        follower: handle,
        resolver,
        registry: Arc::clone(&registry),
        addresses,
        holds,
        probes: Arc::new(ProbeSchedule::new(Arc::clone(&state), Arc::clone(&clock))),
        denials: Arc::new(AccessDenials::new(Arc::clone(&clock))),
        view,
        admissions: Admissions {
            state,
            registry,
            clock,
        },
    };
    let background = Background {
        follower,
        members,
        publishing: publishing.clone(),
    };
    Ok((publishing, background))
}

impl Publishing {
    /// Admits sidecars: by certificate only, or without one.
    pub(crate) fn directory(&self, by_certificate: bool) -> Arc<dyn NodeDirectory> {
        let (admissions, denials) = (self.admissions.clone(), Arc::clone(&self.denials));
        if by_certificate {
            Arc::new(CertificateDirectory::new(admissions, denials))
        } else {
            Arc::new(PlaintextDirectory::new(admissions, denials))
        }
    }
}

impl Background {
    /// Follows the catalogue, resolves names, and ends holds and probes, until `stop`.
    pub(crate) fn spawn(self, tasks: &mut JoinSet<anyhow::Result<()>>, stop: &CancellationToken) {
        let Self {
            follower,
            members,
            publishing,
        } = self;
        let Publishing {
            resolver,
            registry,
            holds,
            probes,
            ..
        } = publishing;
        let stopped = stop.clone();
        spawn(tasks, async move { follower.run(stopped).await });
        let stopped = stop.clone();
        spawn(tasks, async move { members.run(stopped).await });
        let stopped = stop.clone();
        spawn(tasks, async move { resolver.run(stopped).await });
        let stopped = stop.clone();
        spawn(tasks, async move { registry.run(stopped).await });
        let stopped = stop.clone();
        spawn(tasks, async move { holds.run(stopped).await });
        let stopped = stop.clone();
        spawn(tasks, async move { probes.run(stopped).await });
    }
}

fn spawn(tasks: &mut JoinSet<anyhow::Result<()>>, part: impl Future<Output = ()> + Send + 'static) {
    tasks.spawn(async move {
        part.await;
        Ok(())
    });
}

#[cfg(test)]
pub(crate) mod tests;
