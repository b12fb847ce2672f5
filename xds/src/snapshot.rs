use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use prost::Message as _;

use crate::resource::{Resource, ResourceSet, ResourceSetError, ResourceType};

/// The immutable set of resources that one group of nodes must have. A clone shares
/// everything.
#[derive(Clone, Debug)]
pub struct Snapshot(Arc<[Arc<ResourceSet>; ResourceType::ALL.len()]>);

impl Snapshot {
    #[must_use]
    pub fn builder() -> SnapshotBuilder {
        SnapshotBuilder::default()
    }

    /// The resources of one type; share them with another snapshot by
    /// [`SnapshotBuilder::share`].
    #[must_use]
    pub fn set(&self, kind: ResourceType) -> &Arc<ResourceSet> {
        &self.0[kind.index()]
    }
}

/// Collects resources; nothing is checked before [`SnapshotBuilder::build`].
#[derive(Debug, Default)]
pub struct SnapshotBuilder {
    shared: BTreeMap<ResourceType, Arc<ResourceSet>>,
    added: BTreeMap<ResourceType, Vec<Resource>>,
}

impl SnapshotBuilder {
    #[must_use]
    pub fn insert(mut self, resource: Resource) -> Self {
        self.added
            .entry(resource.kind())
            .or_default()
            .push(resource);
        self
    }

    #[must_use]
    pub fn extend(self, resources: impl IntoIterator<Item = Resource>) -> Self {
        resources.into_iter().fold(self, Self::insert)
    }

    /// Takes a whole set that other snapshots have too. The last one of a type counts;
    /// inserted resources of the type come on top of it.
    #[must_use]
    pub fn share(mut self, set: Arc<ResourceSet>) -> Self {
        self.shared.insert(set.kind(), set);
        self
    }

    /// A cluster that takes its endpoints from EDS and has no assignment gets an empty one:
    /// without it a client keeps the cluster warming until its fetch timeout, 15 s by
    /// default, has passed.
    ///
    /// # Errors
    /// [`SnapshotError`], naming the resource that does not fit.
    pub fn build(mut self) -> Result<Snapshot, SnapshotError> {
        let clusters = self.take(ResourceType::Cluster)?;
        let endpoints = self.take(ResourceType::Endpoints)?;
        let endpoints = complete(&clusters, endpoints);
        Ok(Snapshot(Arc::new([
            clusters,
            endpoints,
            self.take(ResourceType::Extension)?,
            self.take(ResourceType::Listener)?,
            self.take(ResourceType::ScopedRoute)?,
            self.take(ResourceType::Route)?,
            self.take(ResourceType::VirtualHost)?,
            self.take(ResourceType::Secret)?,
            self.take(ResourceType::Runtime)?,
        ])))
    }

    fn take(&mut self, kind: ResourceType) -> Result<Arc<ResourceSet>, SnapshotError> {
        let added = self.added.remove(&kind);
        Ok(match (self.shared.remove(&kind), added) {
            (Some(shared), None) => shared,
            (Some(shared), Some(added)) => {
                let all = shared.iter().cloned().chain(added);
                Arc::new(ResourceSet::new(kind, all)?)
            }
            (None, added) => Arc::new(ResourceSet::new(kind, added.unwrap_or_default())?),
        })
    }
}

/// Adds an empty assignment for each EDS cluster that has none.
fn complete(clusters: &ResourceSet, endpoints: Arc<ResourceSet>) -> Arc<ResourceSet> {
    let missing: Vec<_> = clusters
        .iter()
        .filter_map(Resource::endpoints)
        .filter(|name| endpoints.get(name).is_none())
        .collect();
    if missing.is_empty() {
        return endpoints;
    }
    let mut all = endpoints.resources().clone();
    for name in missing {
        let empty = ClusterLoadAssignment {
            cluster_name: name.as_ref().to_owned(),
            ..Default::default()
        };
        let body = Bytes::from(empty.encode_to_vec());
        all.insert(
            Arc::clone(name),
            Resource::new(ResourceType::Endpoints, Arc::clone(name), body),
        );
    }
    Arc::new(ResourceSet::of(ResourceType::Endpoints, all))
}

/// Why a snapshot could not be built; a snapshot builds whole or not at all.
#[derive(Debug, thiserror::Error)]
#[error("the resources do not make a snapshot: {0}")]
pub struct SnapshotError(#[from] ResourceSetError);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{assignment, eds_cluster, eds_cluster_of_service};

    #[test]
    fn x47_an_eds_cluster_without_endpoints_gets_an_empty_assignment() {
        let snapshot = Snapshot::builder()
            .insert(eds_cluster("a", 1))
            .insert(eds_cluster_of_service("b", "service"))
            .insert(assignment("a", 5432))
            .build()
            .unwrap();
        let endpoints = snapshot.set(ResourceType::Endpoints);
        let names: Vec<_> = endpoints.iter().map(|r| &**r.name()).collect();
        assert_eq!(names, ["a", "service"]);
        let filled = endpoints.get("service").unwrap();
        let filled = ClusterLoadAssignment::decode(filled.body().clone()).unwrap();
        assert_eq!(filled.cluster_name, "service");
        assert!(filled.endpoints.is_empty());
    }

    #[test]
    fn a_shared_set_stays_one_object() {
        let set =
            Arc::new(ResourceSet::new(ResourceType::Endpoints, [assignment("a", 1)]).unwrap());
        let snapshot = Snapshot::builder()
            .share(Arc::clone(&set))
            .insert(eds_cluster("a", 1))
            .build()
            .unwrap();
        assert!(Arc::ptr_eq(snapshot.set(ResourceType::Endpoints), &set));
    }

    #[test]
    fn a_snapshot_with_a_name_twice_does_not_build() {
        let error = Snapshot::builder()
            .insert(assignment("a", 1))
            .insert(assignment("a", 2))
            .build()
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "the resources do not make a snapshot: two resources of type \
             ClusterLoadAssignment are called a"
        );
    }
}
