//! Adds empty assignments for the clusters that have none.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use prost::Message as _;

use super::Snapshot;
use crate::resource::{Resource, ResourceChange, ResourceSet, ResourceSetError, ResourceType};

/// Adds an empty assignment for each EDS cluster without one, and removes those of `base` that are no
/// longer needed. Returns the names of the empty assignments. What has not changed since `base` is
/// skipped.
pub(super) fn complete(
    base: Option<&Snapshot>,
    clusters: &ResourceSet,
    endpoints: &mut Arc<ResourceSet>,
) -> Result<Arc<BTreeSet<Arc<str>>>, ResourceSetError> {
    let Some(base) = base else {
        let mut filled = BTreeSet::new();
        fill(clusters.iter(), endpoints, &mut filled)?;
        return Ok(Arc::new(filled));
    };
    let former = &base.0.filled;
    let clusters_changed = clusters.changes_since(base.set(ResourceType::Cluster));
    let endpoints_changed = endpoints.changes_since(base.set(ResourceType::Endpoints));
    if clusters_changed.is_empty() && endpoints_changed.is_empty() {
        return Ok(Arc::clone(former));
    }
    let mut filled = BTreeSet::clone(former);
    for name in endpoints_changed.iter().filter_map(ResourceChange::name) {
        filled.remove(name);
    }
    let any_removed = endpoints_changed
        .iter()
        .any(|change| change.after.is_none());
    if any_removed
        || clusters_changed
            .iter()
            .any(|change| releases(change, &filled))
    {
        // Another cluster may still need the assignment, so all clusters are checked.
        let mut rest = ResourceSet::clone(endpoints);
        for name in &std::mem::take(&mut filled) {
            rest.remove(name);
        }
        *endpoints = Arc::new(rest);
        fill(clusters.iter(), endpoints, &mut filled)?;
    } else {
        let added = clusters_changed
            .iter()
            .filter_map(|change| change.after.as_ref());
        fill(added, endpoints, &mut filled)?;
    }
    Ok(Arc::new(filled))
}

/// Whether a cluster no longer needs the empty assignment that was added for it.
fn releases(change: &ResourceChange, filled: &BTreeSet<Arc<str>>) -> bool {
    let before = change.before.as_ref().and_then(Resource::endpoints);
    let after = change.after.as_ref().and_then(Resource::endpoints);
    before != after && before.is_some_and(|name| filled.contains(name))
}

fn fill<'a>(
    clusters: impl Iterator<Item = &'a Resource>,
    endpoints: &mut Arc<ResourceSet>,
    filled: &mut BTreeSet<Arc<str>>,
) -> Result<(), ResourceSetError> {
    let missing: BTreeSet<_> = clusters
        .filter_map(Resource::endpoints)
        .filter(|name| endpoints.get(name).is_none())
        .cloned()
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut all = ResourceSet::clone(endpoints);
    for name in missing {
        all.insert(empty(&name))?;
        filled.insert(name);
    }
    *endpoints = Arc::new(all);
    Ok(())
}

fn empty(name: &Arc<str>) -> Resource {
    let assignment = ClusterLoadAssignment {
        cluster_name: name.as_ref().to_owned(),
        ..Default::default()
    };
    let body = Bytes::from(assignment.encode_to_vec());
    Resource::new(ResourceType::Endpoints, Arc::clone(name), body)
}
