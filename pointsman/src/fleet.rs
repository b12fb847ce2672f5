//! The one place where the catalogue meets Envoy: routes become snapshots, acknowledgements
//! become convergence.

mod addresses;
mod audience;
mod data_plane;
mod directory;
mod holds;
mod probes;
mod rehearsal;
mod tries;
mod view;
mod world;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use anyhow::Context as _;
use pointsman_catalog::{
    Catalog, CatalogError, DatabaseName, Declaration, Endpoint, NodeId, RouteChange, ServerName,
    UnixMillis,
};
use pointsman_cutover::ports::{DataPlaneError, Publication};
use pointsman_xds::{Fleet, NodeStatus, SnapshotCache};
use tokio::{
    sync::{Mutex, Notify, watch},
    time::{Instant, MissedTickBehavior, interval, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::chain::Chain;
use addresses::Addresses;
use audience::Audience;
pub(crate) use directory::Proven;
use holds::Holds;
pub(crate) use probes::Probed;
use tries::Tries;
pub(crate) use tries::TryView;
pub(crate) use view::{NodeView, TypeView, micros, service};
use world::World;

/// Publishes what the catalogue says to the sidecars, one change at a time.
#[derive(Debug)]
pub(crate) struct Publisher {
    catalog: Arc<Catalog>,
    cache: Arc<SnapshotCache>,
    fleet: Arc<Fleet>,
    /// Held over each publish, so that the order in the store is the order on the wire.
    world: Mutex<World>,
    /// What readers need of the world, without waiting for a publish.
    known: RwLock<Known>,
    /// A hold was published: its end must be watched.
    held: Notify,
    /// What somebody asked for and may not have.
    tries: Tries,
}

/// The registry and the addresses, as last published.
#[derive(Debug, Default)]
struct Known {
    registered: BTreeMap<NodeId, Audience>,
    canaries: BTreeSet<NodeId>,
    addresses: BTreeMap<ServerName, Vec<SocketAddr>>,
    holds: Holds,
    probes: BTreeMap<DatabaseName, Probed>,
}

/// Why the sidecars go on with what they have.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RefreshError {
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// Nothing was recorded.
    #[error("{} not resolve, and sidecars take IP addresses only: {}", verb(.0), .0.join("; "))]
    Unresolved(Vec<String>),
    /// The change is recorded and published once the cause is gone.
    #[error("the catalogue was changed, and the sidecars keep what they have: {0}")]
    Render(String),
}

impl Publisher {
    /// Publishes everything that the store holds; when this returns, any sidecar can be
    /// answered in full.
    pub(crate) async fn restore(catalog: Arc<Catalog>) -> anyhow::Result<Arc<Self>> {
        let addresses = Addresses::restore(Arc::clone(catalog.store())).await?;
        let cache = Arc::new(SnapshotCache::new());
        let publisher = Self {
            fleet: Arc::new(Fleet::new(Arc::clone(&cache))),
            cache,
            catalog,
            world: Mutex::new(World::new(addresses)),
            known: RwLock::default(),
            held: Notify::new(),
            tries: Tries::default(),
        };
        publisher
            .refresh()
            .await
            .context("the databases of the store cannot be published")?;
        Ok(Arc::new(publisher))
    }

    /// Looks up the endpoints of a declaration before it is recorded: a server without an
    /// address would leave its databases unpublished.
    pub(crate) async fn resolve_declared(
        &self,
        declaration: &Declaration,
    ) -> Result<(), RefreshError> {
        let endpoints = declaration
            .servers
            .iter()
            .map(|server| server.endpoint.clone());
        let answers = addresses::look_up(endpoints.collect()).await;
        let mut world = self.world.lock().await;
        let unresolved = world.addresses.unresolved(&answers);
        if !unresolved.is_empty() {
            return Err(RefreshError::Unresolved(unresolved));
        }
        world
            .addresses
            .learn(answers)
            .await
            .map_err(CatalogError::Store)?;
        Ok(())
    }

    /// Follows the catalogue, after it was changed by anything but a publish.
    pub(crate) async fn refresh(&self) -> Result<(), RefreshError> {
        let endpoints = self.endpoints().await?;
        let answers = addresses::look_up(endpoints).await;
        let mut world = self.world.lock().await;
        world
            .addresses
            .learn(answers)
            .await
            .map_err(CatalogError::Store)?;
        world.read(&self.catalog).await?;
        world
            .render_all(UnixMillis::now())
            .map_err(RefreshError::Render)?;
        self.know(&world);
        self.send(&world).map_err(RefreshError::Render)?;
        self.dismiss_changed();
        Ok(())
    }

    /// Records `changes` and sends them to every sidecar as one change.
    ///
    /// Rendered before anything is recorded: routes that no sidecar could be told must not
    /// become the truth. Recorded before anything is sent: a sidecar must never know more than
    /// the store.
    async fn publish_routes(
        &self,
        changes: &BTreeMap<DatabaseName, RouteChange>,
    ) -> Result<Publication, DataPlaneError> {
        let mut world = self.world.lock().await;
        let rendered = world
            .rendered(changes, UnixMillis::now())
            .map_err(DataPlaneError::Render)?;
        let snapshots = world.snapshots(&rendered).map_err(DataPlaneError::Render)?;
        let routes = self
            .catalog
            .publish(changes)
            .await
            .map_err(|error| DataPlaneError::Store(Box::new(error)))?;
        let epochs = routes
            .iter()
            .map(|(name, routes)| (name.clone(), routes.epoch))
            .collect();
        let sequence = self.cache.publish(snapshots).get();
        self.note_holds(&routes);
        world.adopt(routes, rendered);
        drop(world);
        self.held.notify_one();
        info!(sequence, ?epochs, "routes published");
        Ok(Publication { sequence, epochs })
    }

    /// Resolves names again and again, and ends holds that nobody ended, until `stop`.
    pub(crate) async fn run(&self, stop: CancellationToken) {
        let mut ticks = interval(RESOLVE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.reset();
        loop {
            let next_end = self.next_hold_end().await;
            let next_probe_end = self.next_probe_end().await;
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.held.notified() => {}
                () = until(next_end) => self.end_holds().await,
                () = until_instant(next_probe_end) => self.end_probes().await,
                _ = ticks.tick() => self.resolve().await,
            }
        }
    }

    /// The sidecars that are registered and connected, and where they listen.
    pub(crate) fn connected_sidecars(&self) -> Vec<(NodeId, IpAddr)> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        self.fleet
            .status()
            .into_iter()
            .filter(NodeStatus::connected)
            .filter_map(|node| {
                let id = NodeId::new(node.id.as_str()).ok()?;
                let listen = known.registered.get(&id)?.listen;
                Some((id, listen))
            })
            .collect()
    }

    /// The registered sidecars, and whether each is connected.
    pub(crate) fn registered(&self) -> BTreeMap<NodeId, bool> {
        let status = self.fleet.status().into_iter();
        let registered = status.filter(|node| node.registered);
        registered
            .filter_map(|node| Some((NodeId::new(node.id.as_str()).ok()?, node.connected())))
            .collect()
    }

    /// Whether `database` exists for a registered sidecar.
    pub(crate) fn sees(&self, node: &NodeId, database: &DatabaseName) -> bool {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let audience = known.registered.get(node);
        audience.is_some_and(|audience| audience.includes(database))
    }

    /// What `server`'s endpoint resolved to.
    pub(crate) fn addresses(&self, server: &ServerName) -> Vec<SocketAddr> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.addresses.get(server).cloned().unwrap_or_default()
    }

    /// The server whose endpoint resolves to `address`.
    pub(crate) fn server_at(&self, address: SocketAddr) -> Option<ServerName> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let mut servers = known.addresses.iter();
        let found = servers.find(|(_, addresses)| addresses.contains(&address));
        found.map(|(server, _)| server.clone())
    }

    /// What somebody asked for and may not have, since this process began.
    pub(crate) fn refused_tries(&self) -> Vec<TryView> {
        self.tries.list()
    }

    /// Grows with every change of the fleet.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.fleet.watch()
    }

    /// What streams are answered from.
    pub(crate) fn cache(&self) -> Arc<SnapshotCache> {
        Arc::clone(&self.cache)
    }

    /// Who has acknowledged what.
    pub(crate) fn fleet(&self) -> Arc<Fleet> {
        Arc::clone(&self.fleet)
    }

    async fn endpoints(&self) -> Result<BTreeSet<Endpoint>, CatalogError> {
        let servers = self.catalog.servers().await?;
        Ok(servers.into_iter().map(|server| server.endpoint).collect())
    }

    /// A new address of the same endpoint is a new publish, not a new epoch.
    async fn resolve(&self) {
        // Again, for who was being admitted while the registry changed.
        self.dismiss_changed();
        let endpoints = match self.endpoints().await {
            Ok(endpoints) => endpoints,
            Err(error) => {
                warn!(error = %Chain(&error), "the servers could not be read");
                return;
            }
        };
        // Outside the lock: a slow name server must not delay a publish.
        let answers = addresses::look_up(endpoints).await;
        let mut world = self.world.lock().await;
        match world.addresses.learn(answers).await {
            Ok(false) => return,
            Ok(true) => {}
            Err(error) => {
                warn!(error = %Chain(&error), "new addresses could not be recorded");
                return;
            }
        }
        let sent = world.render_all(UnixMillis::now()).and_then(|()| {
            self.know(&world);
            self.send(&world)
        });
        if let Err(words) = sent {
            warn!(words, "new addresses could not be published");
        }
    }

    async fn next_hold_end(&self) -> Option<UnixMillis> {
        self.world.lock().await.next_hold_end()
    }

    /// Past its end a hold refuses, on every sidecar, whoever made it.
    async fn end_holds(&self) {
        let mut world = self.world.lock().await;
        let sent = world
            .render_held(UnixMillis::now())
            .and_then(|()| self.send(&world));
        match sent {
            Ok(sequence) => warn!(sequence, "a hold reached its end: its routes refuse now"),
            Err(words) => warn!(words, "the end of a hold could not be published"),
        }
    }

    fn know(&self, world: &World) {
        let registered = world.registered();
        self.fleet.set_registered(
            registered
                .keys()
                .map(|id| pointsman_xds::NodeId::new(id.as_str())),
        );
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.registered = registered;
        known.canaries.clone_from(world.canaries());
        known.addresses = world.addresses();
        drop(known);
        self.note_holds(world.routes());
    }

    fn send(&self, world: &World) -> Result<u64, String> {
        Ok(self.cache.publish(world.snapshots(&BTreeMap::new())?).get())
    }
}

fn verb(names: &[String]) -> String {
    match names.len() {
        1 => "one endpoint does".to_owned(),
        more => format!("{more} endpoints do"),
    }
}

/// Sleeps until `end` has passed; for ever when there is none.
async fn until(end: Option<UnixMillis>) {
    match end {
        // One millisecond more: the clock counts whole ones, and at `end` the hold is over.
        Some(end) => sleep(end.since(UnixMillis::now()) + Duration::from_millis(1)).await,
        None => std::future::pending().await,
    }
}

async fn until_instant(end: Option<Instant>) {
    match end {
        Some(end) => sleep_until(end).await,
        None => std::future::pending().await,
    }
}

/// Cloud name servers keep records for 5 s and more.
const RESOLVE: Duration = Duration::from_secs(5);

#[cfg(test)]
pub(crate) mod tests;
