//! All resources of one type, as a persistent map. An edited copy shares what it does not change, so
//! copying it and comparing it with its origin do not depend on the size of the set.

mod change;
mod chunks;

use std::{fmt, sync::Arc};

pub(crate) use self::change::ResourceChange;
use self::chunks::Chunks;
use super::{Resource, ResourceType, Version};

/// All resources of one type, by name. Groups with equal sets share one, and so do their streams. A
/// clone shares everything.
#[derive(Clone)]
pub struct ResourceSet {
    kind: ResourceType,
    resources: Chunks,
    version: Version,
    /// How many have a TTL.
    with_ttl: usize,
}

impl ResourceSet {
    /// # Errors
    /// [`ResourceSetError`], naming the resource that does not fit.
    pub fn new(
        kind: ResourceType,
        resources: impl IntoIterator<Item = Resource>,
    ) -> Result<Self, ResourceSetError> {
        let mut resources: Vec<_> = resources.into_iter().collect();
        resources
            .iter()
            .try_for_each(|resource| fits(kind, resource))?;
        resources.sort_by(|a, b| a.name().cmp(b.name()));
        if let Some(pair) = resources
            .windows(2)
            .find(|pair| pair[0].name() == pair[1].name())
        {
            let name = Arc::clone(pair[0].name());
            return Err(ResourceSetError::Duplicate { name, kind });
        }
        Ok(Self {
            kind,
            version: version_of(&resources),
            with_ttl: resources
                .iter()
                .filter(|resource| resource.ttl().is_some())
                .count(),
            resources: Chunks::from_sorted(resources),
        })
    }

    /// A set without resources.
    #[must_use]
    pub fn empty(kind: ResourceType) -> Self {
        Self {
            kind,
            resources: Chunks::default(),
            version: Version::EMPTY,
            with_ttl: 0,
        }
    }

    #[must_use]
    pub fn kind(&self) -> ResourceType {
        self.kind
    }

    /// Depends on the names and the versions of the resources, and on nothing else.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Resource> {
        self.resources.get(name)
    }

    /// By name, ascending.
    pub fn iter(&self) -> impl Iterator<Item = &Resource> {
        self.resources.iter()
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.resources.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.resources.len() == 0
    }

    /// Adds a resource, or replaces the one with its name.
    ///
    /// # Errors
    /// [`ResourceSetError`], if the resource does not fit; then the set is unchanged.
    pub fn insert(&mut self, resource: Resource) -> Result<(), ResourceSetError> {
        fits(self.kind, &resource)?;
        self.version = self.version.plus(resource.share());
        self.with_ttl += usize::from(resource.ttl().is_some());
        if let Some(former) = self.resources.insert(resource) {
            self.subtract(&former);
        }
        Ok(())
    }

    /// Removes a resource.
    pub fn remove(&mut self, name: &str) -> Option<Resource> {
        let former = self.resources.remove(name)?;
        self.subtract(&former);
        Some(former)
    }

    pub(crate) fn has_ttls(&self) -> bool {
        self.with_ttl > 0
    }

    /// The changes since `former`, by name, ascending. Shared parts are skipped.
    pub(crate) fn changes_since(&self, former: &Self) -> Vec<ResourceChange> {
        if self.version == former.version {
            return Vec::new();
        }
        self.resources.changes_since(&former.resources)
    }

    /// Subtracts a removed resource from the version and the counts.
    fn subtract(&mut self, former: &Resource) {
        self.version = self.version.minus(former.share());
        self.with_ttl -= usize::from(former.ttl().is_some());
    }
}

impl fmt::Debug for ResourceSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// The version of a set with these resources.
pub(crate) fn version_of<'a>(resources: impl IntoIterator<Item = &'a Resource>) -> Version {
    resources
        .into_iter()
        .fold(Version::EMPTY, |sum, resource| sum.plus(resource.share()))
}

fn fits(kind: ResourceType, resource: &Resource) -> Result<(), ResourceSetError> {
    let name = Arc::clone(resource.name());
    let found = resource.kind();
    if found != kind {
        return Err(ResourceSetError::Kind { name, kind, found });
    }
    if name.is_empty() || &*name == WILDCARD {
        return Err(ResourceSetError::Name { name, kind });
    }
    Ok(())
}

/// Why resources do not form a set.
#[derive(Debug, thiserror::Error)]
pub enum ResourceSetError {
    #[error("two resources of type {kind} are called {name}")]
    Duplicate { name: Arc<str>, kind: ResourceType },
    #[error("{name:?} cannot be the name of a {kind}: it is empty or the wildcard")]
    Name { name: Arc<str>, kind: ResourceType },
    #[error("{name} is a {found} and cannot be in a set of type {kind}")]
    Kind {
        name: Arc<str>,
        kind: ResourceType,
        found: ResourceType,
    },
}

/// The name that subscribes to all resources of a type.
pub(crate) const WILDCARD: &str = "*";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::opaque;

    #[test]
    fn a_set_refuses_a_name_twice() {
        let a = opaque(ResourceType::Route, "a", "");
        let error = ResourceSet::new(ResourceType::Route, [a.clone(), a]).unwrap_err();
        assert!(matches!(error, ResourceSetError::Duplicate { .. }));
    }

    #[test]
    fn an_edited_set_has_the_version_of_one_made_anew() {
        let route = |name: &str, content| opaque(ResourceType::Route, name, content);
        let [a, b, c] = ["a", "b", "c"].map(|name| route(name, "1"));
        let mut edited = ResourceSet::new(ResourceType::Route, [a.clone(), b]).unwrap();
        let before = edited.clone();
        edited.remove("b");
        edited.insert(c.clone()).unwrap();
        edited.insert(route("a", "2")).unwrap();
        let anew = ResourceSet::new(ResourceType::Route, [route("a", "2"), c]).unwrap();
        assert_eq!(edited.version(), anew.version());
        edited.insert(a).unwrap();
        edited.insert(route("b", "1")).unwrap();
        edited.remove("c");
        assert_eq!(edited.version(), before.version());
        assert!(
            edited
                .insert(opaque(ResourceType::Secret, "s", ""))
                .is_err()
        );
    }
}
