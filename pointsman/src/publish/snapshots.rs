//! From rendered resources to the snapshots of groups; pure.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    sync::Arc,
};

use pointsman_catalog::{DatabaseName, UnixMillis};
use pointsman_envoy_config::resources;
use pointsman_xds::{Group, ResourceSet, Snapshot};

use super::{
    audience::Audience,
    render::{RenderError, RenderedDatabase},
};

/// Which groups a publish is for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Recipients<'a> {
    Everybody,
    /// Those for which one of the databases exists.
    Concerned(&'a BTreeSet<DatabaseName>),
    Group(&'a Audience),
}

/// The snapshot of each group that `recipients` names.
pub(super) fn snapshots(
    listeners: &BTreeMap<Audience, Arc<ResourceSet>>,
    rendered: &BTreeMap<DatabaseName, RenderedDatabase>,
    recipients: Recipients<'_>,
    rehearsal: Option<UnixMillis>,
) -> Result<BTreeMap<Group, Snapshot>, RenderError> {
    // Groups share equal resources as one object, so that a publish compares them once.
    let mut shared: BTreeMap<_, Snapshot> = BTreeMap::new();
    let mut snapshots = BTreeMap::new();
    for (audience, listeners) in listeners {
        if !recipients.include(audience) {
            continue;
        }
        let databases = audience.databases();
        let common = match shared.entry(databases) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(common(rendered, databases, rehearsal)?),
        };
        let snapshot = common.to_builder().share(Arc::clone(listeners)).build()?;
        snapshots.insert(audience.group(), snapshot);
    }
    Ok(snapshots)
}

/// What all audiences for which these databases exist have in common: everything but
/// listeners.
fn common(
    rendered: &BTreeMap<DatabaseName, RenderedDatabase>,
    databases: Option<&BTreeSet<DatabaseName>>,
    rehearsal: Option<UnixMillis>,
) -> Result<Snapshot, RenderError> {
    let rendered: Vec<_> = match databases {
        None => rendered.values().collect(),
        Some(names) => {
            let names = names.iter();
            names.filter_map(|name| rendered.get(name)).collect()
        }
    };
    let resources = rendered.into_iter().flat_map(|found| &found.resources);
    let common = Snapshot::builder()
        .extend(resources.cloned())
        .insert(resources::runtime_layer(rehearsal).into())
        .build()?;
    Ok(common)
}

impl Recipients<'_> {
    fn include(self, audience: &Audience) -> bool {
        match self {
            Self::Everybody => true,
            Self::Concerned(databases) => databases.iter().any(|name| audience.includes(name)),
            Self::Group(only) => audience == only,
        }
    }
}
