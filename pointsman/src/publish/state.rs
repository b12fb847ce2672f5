use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use pointsman_catalog::{
    CatalogChanges, Chain, DatabaseName, NodeId, RouteChange, Routes, ServerName, UnixMillis,
};
use pointsman_xds::{Group, ResourceSet, Sequence, Snapshot, SnapshotCache};
use tracing::warn;

use super::{
    audience::Audience,
    catalog_copy::{Affected, CatalogCopy},
    render::{self, RenderError, RenderedDatabase},
    snapshots::{Recipients, snapshots},
};

/// What is published: the catalogue as it was read, the resources made of it, and the snapshots
/// that streams are answered from.
///
/// It is shared behind a lock that is held over each publish, so that the order in which things
/// were decided is the order on the wire.
#[derive(Debug)]
pub(super) struct PublishedState {
    cache: Arc<SnapshotCache>,
    catalog: CatalogCopy,
    /// The server that sidecars try through a database's probe cluster.
    probe_targets: BTreeMap<DatabaseName, ServerName>,
    /// The rehearsal that the fleet last took. It stays published: taking it back would be
    /// another change.
    last_rehearsal: Option<UnixMillis>,
    /// The audiences of nodes that were admitted since this process began. Such nodes must hear of
    /// every change while they are connected, also when they were moved or retired since.
    admitted: BTreeSet<Audience>,
    /// The resources of each database, shared by all sidecars for which it exists.
    rendered: BTreeMap<DatabaseName, RenderedDatabase>,
    /// Databases that could not be rendered as the catalogue says; sidecars keep what they have.
    unrendered: BTreeMap<DatabaseName, String>,
    listeners: BTreeMap<Audience, Arc<ResourceSet>>,
    /// The last publish failed: the next one is for every group.
    unsent: bool,
}

/// Why a sidecar cannot be given a snapshot.
#[derive(Debug, thiserror::Error)]
pub(super) enum AdmissionError {
    #[error(
        "{MAX_GROUPS} listen addresses are served already; restart the control plane to forget \
         those that are not in use any more"
    )]
    TooManyGroups,
    #[error(transparent)]
    Render(#[from] RenderError),
}

impl PublishedState {
    /// Nothing is published yet; snapshots will be published to `cache`.
    pub(super) fn new(cache: Arc<SnapshotCache>) -> Self {
        Self {
            cache,
            catalog: CatalogCopy::default(),
            probe_targets: BTreeMap::new(),
            last_rehearsal: None,
            admitted: BTreeSet::new(),
            rendered: BTreeMap::new(),
            unrendered: BTreeMap::new(),
            listeners: BTreeMap::new(),
            unsent: false,
        }
    }

    /// Takes over what was written to the catalogue; [`Self::publish_changes`] publishes it.
    pub(super) fn take(&mut self, changes: CatalogChanges) -> Affected {
        self.catalog.take(changes)
    }

    /// Renders what is affected and publishes it to those whom it concerns, as one change.
    /// Returns `None` if there is nothing to publish. A database that cannot be rendered keeps
    /// what it has and is tried again with the next change; see [`Self::unrendered`].
    pub(super) fn publish_changes(
        &mut self,
        affected: &Affected,
        now: UnixMillis,
    ) -> Result<Option<Sequence>, RenderError> {
        let mut changed = BTreeSet::new();
        let mut listeners = affected.declarations || affected.nodes || self.unsent;
        for name in self.due(affected) {
            let was_rendered = self.rendered.contains_key(&name);
            if self.render(&name, now) {
                listeners |= was_rendered != self.rendered.contains_key(&name);
                changed.insert(name);
            }
        }
        if listeners {
            // Until they are rendered and published, the next publish is for everybody.
            self.unsent = true;
            self.listeners = self.render_listeners()?;
            return self.publish(Recipients::Everybody).map(Some);
        }
        if changed.is_empty() {
            return Ok(None);
        }
        self.publish(Recipients::Concerned(&changed)).map(Some)
    }

    /// Renders the routes that `changes` would make, and changes nothing.
    pub(super) fn try_routes(
        &self,
        changes: &BTreeMap<DatabaseName, RouteChange>,
        now: UnixMillis,
    ) -> Result<(), RenderError> {
        for (name, change) in changes {
            // A name that the catalogue does not know is the catalogue's to refuse.
            let Some(routes) = self.catalog.routes.get(name) else {
                continue;
            };
            let routes = Routes {
                epoch: routes.epoch.next(),
                writer: change.writer.as_ref().unwrap_or(&routes.writer).clone(),
                reader: change.reader.as_ref().unwrap_or(&routes.reader).clone(),
            };
            self.rendering(name, &routes, now)?;
        }
        Ok(())
    }

    /// Publishes the databases that are held as what is left of their holds now; past its end
    /// a hold refuses.
    pub(super) fn publish_holds(&mut self, now: UnixMillis) -> Result<Sequence, RenderError> {
        let held = self.render_holds(now)?;
        self.publish(Recipients::Concerned(&held))
    }

    /// Publishes `target` as the endpoint of the database's probe cluster; `None` ends the
    /// probe. If the publish fails, the former target stays.
    pub(super) fn publish_probe(
        &mut self,
        database: &DatabaseName,
        target: Option<ServerName>,
        now: UnixMillis,
    ) -> Result<(), RenderError> {
        let former = self.set_probe_target(database, target);
        let routes = self.catalog.routes.get(database);
        let rendered = match routes {
            None => Err(RenderError::Undeclared(database.clone())),
            Some(routes) => self.rendering(database, routes, now),
        };
        let published = rendered.and_then(|rendered| {
            self.rendered.insert(database.clone(), rendered);
            self.publish(Recipients::Concerned(&[database.clone()].into()))
        });
        if published.is_err() {
            self.set_probe_target(database, former);
        }
        published.map(|_sequence| ())
    }

    /// Makes sure that the group of `audience` has its snapshot. A sidecar that connects during a
    /// hold gets what is left of the hold, not its whole length.
    pub(super) fn admit(
        &mut self,
        audience: &Audience,
        now: UnixMillis,
    ) -> Result<(), AdmissionError> {
        let is_new = !self.listeners.contains_key(audience);
        if is_new {
            if self.listeners.len() >= MAX_GROUPS {
                return Err(AdmissionError::TooManyGroups);
            }
            let listeners = self.listeners_of(audience)?;
            self.listeners.insert(audience.clone(), listeners);
        }
        self.admitted.insert(audience.clone());
        let is_held = self.next_hold_end().is_some();
        if is_held && let Err(error) = self.render_holds(now) {
            warn!(error = %Chain(&error), "what is left of a hold could not be rendered");
        }
        if is_new || is_held {
            self.publish(Recipients::Group(audience))?;
        }
        Ok(())
    }

    /// The fleet has taken the rehearsal of `at`.
    pub(super) fn keep_rehearsal(&mut self, at: UnixMillis) {
        self.last_rehearsal = Some(at);
    }

    /// The snapshots of all groups with a change that moves nothing.
    pub(super) fn rehearsal(
        &self,
        at: UnixMillis,
    ) -> Result<BTreeMap<Group, Snapshot>, RenderError> {
        snapshots(
            &self.listeners,
            &self.rendered,
            Recipients::Everybody,
            Some(at),
        )
    }

    /// The end of the first hold among what is published.
    pub(super) fn next_hold_end(&self) -> Option<UnixMillis> {
        let rendered = self.rendered.values();
        rendered.filter_map(|rendered| rendered.held_until).min()
    }

    /// The databases that keep what they have, each with the reason.
    pub(super) fn unrendered(&self) -> &BTreeMap<DatabaseName, String> {
        &self.unrendered
    }

    pub(super) fn catalog(&self) -> &CatalogCopy {
        &self.catalog
    }

    /// What decides what `node` is sent, if it is registered.
    pub(super) fn audience(&self, node: &NodeId) -> Option<Audience> {
        self.catalog.nodes.get(node).map(Audience::from)
    }

    /// The registered nodes that try a change before the others.
    pub(super) fn canaries(&self) -> impl Iterator<Item = &NodeId> {
        let nodes = self.catalog.nodes.values();
        nodes.filter(|node| node.canary).map(|node| &node.id)
    }

    /// The databases to render anew.
    fn due(&self, affected: &Affected) -> BTreeSet<DatabaseName> {
        let mut due = affected.databases.clone();
        if affected.everything || affected.addresses {
            due.extend(self.catalog.routes.keys().cloned());
            due.extend(self.rendered.keys().cloned());
        }
        if !affected.is_nothing() {
            due.extend(self.unrendered.keys().cloned());
        }
        due
    }

    /// Renders one database as the catalogue says. Returns whether that changed anything.
    fn render(&mut self, name: &DatabaseName, now: UnixMillis) -> bool {
        let declared = self.catalog.databases.contains_key(name);
        let Some(routes) = self.catalog.routes.get(name).filter(|_| declared) else {
            self.unrendered.remove(name);
            return self.rendered.remove(name).is_some();
        };
        match self.rendering(name, routes, now) {
            Ok(rendered) => {
                self.unrendered.remove(name);
                self.rendered.insert(name.clone(), rendered);
                true
            }
            Err(error) => {
                self.unrendered.insert(name.clone(), error.to_string());
                false
            }
        }
    }

    fn rendering(
        &self,
        name: &DatabaseName,
        routes: &Routes,
        now: UnixMillis,
    ) -> Result<RenderedDatabase, RenderError> {
        let Some(database) = self.catalog.databases.get(name) else {
            return Err(RenderError::Undeclared(name.clone()));
        };
        let target = self.probe_targets.get(name);
        render::database(database, routes, target, &self.catalog.addresses, now)
    }

    /// Renders the held databases anew, and names them.
    fn render_holds(&mut self, now: UnixMillis) -> Result<BTreeSet<DatabaseName>, RenderError> {
        let held = self.rendered.iter();
        let held = held.filter(|(_, rendered)| rendered.held_until.is_some());
        let held: BTreeSet<_> = held.map(|(name, _)| name.clone()).collect();
        for name in &held {
            if let Some(routes) = self.catalog.routes.get(name) {
                let rendered = self.rendering(name, routes, now)?;
                self.rendered.insert(name.clone(), rendered);
            }
        }
        Ok(held)
    }

    fn render_listeners(&self) -> Result<BTreeMap<Audience, Arc<ResourceSet>>, RenderError> {
        let registered = self.catalog.nodes.values().map(Audience::from);
        let audiences: BTreeSet<_> = registered.chain(self.admitted.iter().cloned()).collect();
        audiences
            .into_iter()
            .map(|audience| {
                let listeners = self.listeners_of(&audience)?;
                Ok((audience, listeners))
            })
            .collect()
    }

    /// A listener without its cluster would be of no use, so databases that were never rendered
    /// have none.
    fn listeners_of(&self, audience: &Audience) -> Result<Arc<ResourceSet>, RenderError> {
        let databases = self.catalog.databases.values();
        let databases = databases.filter(|database| {
            audience.includes(&database.name) && self.rendered.contains_key(&database.name)
        });
        render::listeners(audience.listen, databases)
    }

    fn set_probe_target(
        &mut self,
        database: &DatabaseName,
        target: Option<ServerName>,
    ) -> Option<ServerName> {
        match target {
            Some(target) => self.probe_targets.insert(database.clone(), target),
            None => self.probe_targets.remove(database),
        }
    }

    fn publish(&mut self, recipients: Recipients<'_>) -> Result<Sequence, RenderError> {
        let recipients = if self.unsent {
            Recipients::Everybody
        } else {
            recipients
        };
        self.unsent = true;
        let snapshots = snapshots(
            &self.listeners,
            &self.rendered,
            recipients,
            self.last_rehearsal,
        )?;
        let sequence = self.cache.publish(snapshots);
        self.unsent = false;
        Ok(sequence)
    }
}

/// Twice the largest fleet that one control plane is meant for. A node chooses its listen address
/// itself, so without a limit one client could make any number of groups.
const MAX_GROUPS: usize = 20_000;
