mod completion;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::resource::{Resource, ResourceSet, ResourceSetError, ResourceType};

/// The immutable set of resources of one group of nodes. A clone shares everything.
#[derive(Clone, Debug)]
pub struct Snapshot(Arc<Content>);

#[derive(Debug)]
struct Content {
    sets: [Arc<ResourceSet>; ResourceType::ALL.len()],
    /// The names of the empty assignments that [`SnapshotBuilder::build`] has added.
    filled: Arc<BTreeSet<Arc<str>>>,
}

impl Snapshot {
    #[must_use]
    pub fn builder() -> SnapshotBuilder {
        SnapshotBuilder::default()
    }

    /// A builder with the content of this snapshot. The cost of building, publishing and sending the
    /// new snapshot depends on the changes only.
    #[must_use]
    pub fn to_builder(&self) -> SnapshotBuilder {
        SnapshotBuilder {
            base: Some(self.clone()),
            ..SnapshotBuilder::default()
        }
    }

    /// The resources of one type; share them with another snapshot by
    /// [`SnapshotBuilder::share`].
    #[must_use]
    pub fn set(&self, kind: ResourceType) -> &Arc<ResourceSet> {
        &self.0.sets[kind.index()]
    }
}

/// A snapshot without resources.
impl Default for Snapshot {
    fn default() -> Self {
        Self(Arc::new(Content {
            sets: ResourceType::ALL.map(|kind| Arc::new(ResourceSet::empty(kind))),
            filled: Arc::default(),
        }))
    }
}

/// Two snapshots are equal if their resources have equal names and versions.
impl PartialEq for Snapshot {
    fn eq(&self, other: &Self) -> bool {
        ResourceType::ALL
            .iter()
            .all(|kind| self.set(*kind).version() == other.set(*kind).version())
    }
}

impl Eq for Snapshot {}

/// Collects resources. [`SnapshotBuilder::build`] checks them.
#[derive(Debug, Default)]
pub struct SnapshotBuilder {
    base: Option<Snapshot>,
    edits: BTreeMap<ResourceType, Edits>,
}

/// The edits of one type.
#[derive(Debug, Default)]
struct Edits {
    /// Replaces the set of the base.
    shared: Option<Arc<ResourceSet>>,
    added: Vec<Resource>,
    removed: BTreeSet<Arc<str>>,
}

impl SnapshotBuilder {
    /// Adds a resource. It replaces the one with its name in the base or in a shared set
    /// ([`SnapshotBuilder::share`]).
    #[must_use]
    pub fn insert(mut self, resource: Resource) -> Self {
        self.edit(resource.kind()).added.push(resource);
        self
    }

    #[must_use]
    pub fn extend(self, resources: impl IntoIterator<Item = Resource>) -> Self {
        resources.into_iter().fold(self, Self::insert)
    }

    /// Removes the resource with this name from the base or a shared set. An inserted resource stays.
    /// A name that does not exist is ignored.
    #[must_use]
    pub fn remove(mut self, kind: ResourceType, name: &str) -> Self {
        self.edit(kind).removed.insert(name.into());
        self
    }

    /// Uses a set of another snapshot instead of the set of the base. The last set of a type counts.
    #[must_use]
    pub fn share(mut self, set: Arc<ResourceSet>) -> Self {
        let kind = set.kind();
        self.edit(kind).shared = Some(set);
        self
    }

    /// Builds the snapshot. An EDS cluster without an assignment gets an empty one. Otherwise a client
    /// keeps the cluster warming until its fetch timeout, 15 s by default.
    ///
    /// # Errors
    /// [`SnapshotError`], naming the resource that does not fit.
    pub fn build(mut self) -> Result<Snapshot, SnapshotError> {
        let base = self.base.take();
        let mut sets = Vec::with_capacity(ResourceType::ALL.len());
        for kind in ResourceType::ALL {
            let former = base.as_ref().map(|base| base.set(kind));
            let edits = self.edits.remove(&kind).unwrap_or_default();
            sets.push(edits.apply(kind, former)?);
        }
        let mut sets: [_; ResourceType::ALL.len()] =
            std::array::from_fn(|at| Arc::clone(&sets[at]));
        let clusters = Arc::clone(&sets[ResourceType::Cluster.index()]);
        let endpoints = &mut sets[ResourceType::Endpoints.index()];
        let filled = completion::complete(base.as_ref(), &clusters, endpoints)?;
        Ok(Snapshot(Arc::new(Content { sets, filled })))
    }

    fn edit(&mut self, kind: ResourceType) -> &mut Edits {
        self.edits.entry(kind).or_default()
    }
}

impl Edits {
    fn apply(
        self,
        kind: ResourceType,
        base: Option<&Arc<ResourceSet>>,
    ) -> Result<Arc<ResourceSet>, ResourceSetError> {
        let Some(origin) = self.shared.or_else(|| base.cloned()) else {
            return Ok(Arc::new(ResourceSet::new(kind, self.added)?));
        };
        if self.added.is_empty() && self.removed.is_empty() {
            return Ok(origin);
        }
        let mut set = ResourceSet::clone(&origin);
        for name in &self.removed {
            set.remove(name);
        }
        let mut seen = BTreeSet::new();
        for resource in self.added {
            let name = Arc::clone(resource.name());
            if !seen.insert(Arc::clone(&name)) {
                return Err(ResourceSetError::Duplicate { name, kind });
            }
            set.insert(resource)?;
        }
        Ok(Arc::new(set))
    }
}

/// Why a snapshot could not be built.
#[derive(Debug, thiserror::Error)]
#[error("the resources do not make a snapshot: {0}")]
pub struct SnapshotError(#[from] ResourceSetError);

#[cfg(test)]
mod tests;
