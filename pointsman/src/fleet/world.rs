use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    net::SocketAddr,
    sync::Arc,
};

use pointsman_catalog::{
    Catalog, CatalogError, Database, DatabaseName, NodeId, Route, RouteChange, Routes, Server,
    ServerName, UnixMillis,
};
use pointsman_envoy_config::{ServedDatabase, resources};
use pointsman_xds::{Group, Resource, ResourceSet, ResourceType, Snapshot};

use super::{addresses::Addresses, audience::Audience, probes::Probed};

/// What is published: the catalogue as it was read, and the resources made of it.
#[derive(Debug)]
pub(super) struct World {
    pub(super) addresses: Addresses,
    servers: Vec<Server>,
    databases: BTreeMap<DatabaseName, Database>,
    routes: BTreeMap<DatabaseName, Routes>,
    nodes: BTreeMap<NodeId, Audience>,
    /// Those of `nodes` that try a change before the others.
    canaries: BTreeSet<NodeId>,
    /// The change that moves nothing which the fleet last took.
    pub(super) rehearsed: Option<UnixMillis>,
    /// What sidecars are asked to try.
    pub(super) probes: BTreeMap<DatabaseName, Probed>,
    /// Of the nodes that came since this process began: registered or not, moved or retired
    /// since, they must hear of every change while they are connected.
    admitted: BTreeSet<Audience>,
    /// Clusters and load assignments, by database; the same for every node that it exists for.
    shared: BTreeMap<DatabaseName, Drawn>,
    /// By who is told of them.
    listeners: BTreeMap<Audience, Arc<ResourceSet>>,
}

/// The resources of one database.
#[derive(Debug)]
pub(super) struct Drawn {
    resources: Vec<Resource>,
    /// When what is drawn here as held must be drawn anew.
    held_until: Option<UnixMillis>,
}

impl World {
    pub(super) fn new(addresses: Addresses) -> Self {
        Self {
            addresses,
            servers: Vec::new(),
            databases: BTreeMap::new(),
            routes: BTreeMap::new(),
            nodes: BTreeMap::new(),
            canaries: BTreeSet::new(),
            rehearsed: None,
            probes: BTreeMap::new(),
            admitted: BTreeSet::new(),
            shared: BTreeMap::new(),
            listeners: BTreeMap::new(),
        }
    }

    /// Reads the catalogue anew.
    pub(super) async fn read(&mut self, catalog: &Catalog) -> Result<(), CatalogError> {
        let databases = catalog.databases().await?;
        let nodes = catalog.nodes().await?;
        self.servers = catalog.servers().await?;
        self.routes = catalog.routes().await?;
        self.databases = databases
            .into_iter()
            .map(|database| (database.name.clone(), database))
            .collect();
        let canaries = nodes.iter().filter(|node| node.canary);
        self.canaries = canaries.map(|node| node.id.clone()).collect();
        self.nodes = nodes
            .into_iter()
            .map(|node| (node.id.clone(), Audience::from(node)))
            .collect();
        Ok(())
    }

    /// Makes every resource anew, or leaves all as they are.
    pub(super) fn render_all(&mut self, now: UnixMillis) -> Result<(), String> {
        let addresses = self.addresses();
        let shared = self
            .routes
            .iter()
            .filter(|(name, _)| self.databases.contains_key(name))
            .map(|(name, routes)| Ok((name.clone(), self.draw(name, routes, &addresses, now)?)))
            .collect::<Result<_, String>>()?;
        let audiences: BTreeSet<_> = self.nodes.values().chain(&self.admitted).collect();
        let listeners = audiences
            .into_iter()
            .map(|audience| Ok((audience.clone(), self.draw_listeners(audience)?)))
            .collect::<Result<_, String>>()?;
        self.shared = shared;
        self.listeners = listeners;
        Ok(())
    }

    /// The resources that `changes` would make; nothing is changed yet.
    pub(super) fn rendered(
        &self,
        changes: &BTreeMap<DatabaseName, RouteChange>,
        now: UnixMillis,
    ) -> Result<BTreeMap<DatabaseName, Drawn>, String> {
        let addresses = self.addresses();
        changes
            .iter()
            // A name that the catalogue does not know is the catalogue's to refuse.
            .filter_map(|(name, change)| Some((name, change, self.routes.get(name)?)))
            .map(|(name, change, routes)| {
                let routes = Routes {
                    epoch: routes.epoch.next(),
                    writer: change.writer.as_ref().unwrap_or(&routes.writer).clone(),
                    reader: change.reader.as_ref().unwrap_or(&routes.reader).clone(),
                };
                Ok((name.clone(), self.draw(name, &routes, &addresses, now)?))
            })
            .collect()
    }

    /// Takes over what was recorded and rendered.
    pub(super) fn adopt(
        &mut self,
        routes: BTreeMap<DatabaseName, Routes>,
        drawn: BTreeMap<DatabaseName, Drawn>,
    ) {
        self.routes.extend(routes);
        self.shared.extend(drawn);
    }

    /// Draws the held databases anew: with what is left of their holds now, or refusing.
    pub(super) fn render_held(&mut self, now: UnixMillis) -> Result<(), String> {
        let addresses = self.addresses();
        let held: Vec<_> = self
            .shared
            .iter()
            .filter(|(_, drawn)| drawn.held_until.is_some())
            .map(|(name, _)| name.clone())
            .collect();
        for name in held {
            if let Some(routes) = self.routes.get(&name) {
                let drawn = self.draw(&name, routes, &addresses, now)?;
                self.shared.insert(name, drawn);
            }
        }
        Ok(())
    }

    /// Draws one database anew.
    pub(super) fn render_one(
        &mut self,
        name: &DatabaseName,
        now: UnixMillis,
    ) -> Result<(), String> {
        let Some(routes) = self.routes.get(name) else {
            return Err(format!("{name} is not in the catalogue"));
        };
        let drawn = self.draw(name, routes, &self.addresses(), now)?;
        self.shared.insert(name.clone(), drawn);
        Ok(())
    }

    /// Whether any database is drawn as held, and until when the first one is.
    pub(super) fn next_hold_end(&self) -> Option<UnixMillis> {
        self.shared
            .values()
            .filter_map(|drawn| drawn.held_until)
            .min()
    }

    /// Serves nodes of `audience` from now on. Says whether that is news.
    ///
    /// # Errors
    /// Words for whoever asks, when there are too many already.
    pub(super) fn admit(&mut self, audience: &Audience) -> Result<bool, String> {
        if self.admitted.contains(audience) {
            return Ok(false);
        }
        let known = self.listeners.contains_key(audience);
        if !known {
            if self.listeners.len() >= MAX_GROUPS {
                return Err(format!(
                    "{MAX_GROUPS} listen addresses are served already; restart the control plane \
                     to forget those that are not in use any more"
                ));
            }
            let listeners = self.draw_listeners(audience)?;
            self.listeners.insert(audience.clone(), listeners);
        }
        self.admitted.insert(audience.clone());
        Ok(!known)
    }

    /// One snapshot per group that `instead` concerns, with that in the place of what is drawn
    /// of its databases; one for each group if it is empty.
    pub(super) fn snapshots(
        &self,
        instead: &BTreeMap<DatabaseName, Drawn>,
    ) -> Result<BTreeMap<Group, Snapshot>, String> {
        self.composed(instead, self.rehearsed)
    }

    /// What every group has, but for a change that moves nothing.
    pub(super) fn rehearsing(&self, now: UnixMillis) -> Result<BTreeMap<Group, Snapshot>, String> {
        self.composed(&BTreeMap::new(), Some(now))
    }

    fn composed(
        &self,
        instead: &BTreeMap<DatabaseName, Drawn>,
        rehearsal: Option<UnixMillis>,
    ) -> Result<BTreeMap<Group, Snapshot>, String> {
        // What many groups share stays one object, so that a publish compares it once.
        let mut shared: BTreeMap<_, Snapshot> = BTreeMap::new();
        let mut snapshots = BTreeMap::new();
        for (audience, listeners) in &self.listeners {
            let concerned = instead.keys().any(|name| audience.includes(name));
            if !concerned && !instead.is_empty() {
                continue;
            }
            let databases = audience.databases();
            let common = match shared.entry(databases) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => entry.insert(self.common(databases, instead, rehearsal)?),
            };
            let snapshot = common
                .to_builder()
                .share(Arc::clone(listeners))
                .build()
                .map_err(|error| error.to_string())?;
            snapshots.insert(audience.group(), snapshot);
        }
        Ok(snapshots)
    }

    /// What all are told alike for whom these databases exist.
    fn common(
        &self,
        databases: Option<&BTreeSet<DatabaseName>>,
        instead: &BTreeMap<DatabaseName, Drawn>,
        rehearsal: Option<UnixMillis>,
    ) -> Result<Snapshot, String> {
        let drawn: Vec<_> = match databases {
            None => self.shared.iter().collect(),
            Some(names) => names
                .iter()
                .filter_map(|name| self.shared.get_key_value(name))
                .collect(),
        };
        let drawn = drawn
            .into_iter()
            .flat_map(|(name, drawn)| &instead.get(name).unwrap_or(drawn).resources);
        Snapshot::builder()
            .extend(drawn.cloned())
            .insert(resources::runtime_layer(rehearsal).into())
            .build()
            .map_err(|error| error.to_string())
    }

    pub(super) fn routes(&self) -> &BTreeMap<DatabaseName, Routes> {
        &self.routes
    }

    /// What `node` is told of, if it is registered.
    pub(super) fn audience(&self, node: &NodeId) -> Option<Audience> {
        self.nodes.get(node).cloned()
    }

    pub(super) fn registered(&self) -> BTreeMap<NodeId, Audience> {
        self.nodes.clone()
    }

    pub(super) fn canaries(&self) -> &BTreeSet<NodeId> {
        &self.canaries
    }

    pub(super) fn addresses(&self) -> BTreeMap<ServerName, Vec<SocketAddr>> {
        self.addresses.by_server(&self.servers)
    }

    fn draw(
        &self,
        name: &DatabaseName,
        routes: &Routes,
        addresses: &BTreeMap<ServerName, Vec<SocketAddr>>,
        now: UnixMillis,
    ) -> Result<Drawn, String> {
        let Some(database) = self.databases.get(name) else {
            return Err(format!("{name} has routes and is not declared"));
        };
        let served = ServedDatabase {
            database,
            routes,
            probe_targets: &self.tried(name, addresses),
        };
        let rendered =
            resources::of_database(&served, addresses, now).map_err(|error| error.to_string())?;
        Ok(Drawn {
            resources: rendered.into_iter().map(Resource::from).collect(),
            held_until: [&routes.writer, &routes.reader]
                .into_iter()
                .filter_map(|route| held_until(route, now))
                .min(),
        })
    }

    /// The server that sidecars try by way of `database`'s probe; one that has lost its address
    /// cannot be tried, which is no reason to serve nothing.
    fn tried(
        &self,
        database: &DatabaseName,
        addresses: &BTreeMap<ServerName, Vec<SocketAddr>>,
    ) -> Vec<ServerName> {
        let tried = self.probes.get(database).map(|probed| &probed.server);
        let tried = tried.filter(|server| addresses.contains_key(*server));
        tried.into_iter().cloned().collect()
    }

    fn draw_listeners(&self, audience: &Audience) -> Result<Arc<ResourceSet>, String> {
        let databases = self.databases.values();
        let databases = databases.filter(|database| audience.includes(&database.name));
        let rendered =
            resources::listeners(audience.listen, databases).map_err(|error| error.to_string())?;
        let listeners = rendered.into_iter().map(Resource::from);
        ResourceSet::new(ResourceType::Listener, listeners)
            .map(Arc::new)
            .map_err(|error| error.to_string())
    }
}

/// When a route that is held now stops being so; a hold that is over is none.
fn held_until(route: &Route, now: UnixMillis) -> Option<UnixMillis> {
    match route {
        Route::Hold { until, .. } if *until > now => Some(*until),
        Route::Hold { .. } | Route::Serve { .. } | Route::Refuse => None,
    }
}

/// What nodes say of themselves is not proven: somebody could come with one address after the
/// other. Twice the largest fleet that one control plane is meant for.
const MAX_GROUPS: usize = 20_000;
