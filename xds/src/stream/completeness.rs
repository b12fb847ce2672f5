//! A client that has its clusters and has not asked for their endpoints yet is not done, even if
//! it has everything that it asked for so far.

use std::sync::Arc;

use super::{Substreams, substream::Substream};
use crate::{
    published::PublishedSnapshot,
    resource::{Change, Resource, ResourceType},
};

/// Whether the endpoints of all clusters that a client has are subscribed.
#[derive(Debug, Default)]
pub(super) enum Completeness {
    /// To be worked out.
    #[default]
    Unknown,
    Complete,
    /// These are not.
    Lacking(Arc<str>),
}

impl Completeness {
    /// Other clusters are subscribed, or fewer endpoints, or nothing is known of what changed.
    pub(super) fn forget(&mut self) {
        *self = Self::Unknown;
    }

    /// More endpoints may be subscribed.
    pub(super) fn widen(&mut self, endpoints: &Substream) {
        if let Self::Lacking(name) = self
            && endpoints.subscription.covers(name)
        {
            *self = Self::Unknown;
        }
    }

    /// Clusters have changed.
    pub(super) fn follow(
        &mut self,
        changes: Option<&[Change]>,
        clusters: &Substream,
        endpoints: Option<&Substream>,
    ) {
        *self = match (std::mem::take(self), changes) {
            (Self::Complete, Some(changes)) => {
                let after = changes.iter().filter_map(|change| change.after.as_ref());
                of(after, clusters, endpoints)
            }
            (Self::Unknown | Self::Complete | Self::Lacking(_), _) => Self::Unknown,
        };
    }

    pub(super) fn is_complete(&mut self, substreams: &Substreams) -> bool {
        let endpoints = substreams[ResourceType::Endpoints.index()].as_deref();
        let Some(clusters) = substreams[ResourceType::Cluster.index()].as_deref() else {
            return true;
        };
        if matches!(self, Self::Unknown) {
            let all = clusters.base.iter().flat_map(|base| base.iter());
            *self = of(all, clusters, endpoints);
        }
        matches!(self, Self::Complete)
    }
}

/// A client that comes back asks for one type after the other, and may have everything of
/// the first ones: it is not done before it has asked for what it forwards by. One that
/// takes its clusters by wildcard is a proxy and takes its listeners, too.
pub(super) fn has_only_begun(substreams: &Substreams, published: &PublishedSnapshot) -> bool {
    let asked = |kind: ResourceType| substreams[kind.index()].is_some();
    let exists = |kind: ResourceType| !published.snapshot.set(kind).is_empty();
    let of_proxies = [ResourceType::Cluster, ResourceType::Listener];
    let is_proxy = of_proxies.into_iter().any(|kind| {
        let substream = substreams[kind.index()].as_ref();
        substream.is_some_and(|substream| substream.subscription.is_wildcard())
    });
    if is_proxy {
        return of_proxies
            .into_iter()
            .any(|kind| exists(kind) && !asked(kind));
    }
    FORWARDING.into_iter().any(exists) && !FORWARDING.into_iter().any(asked)
}

fn of<'a>(
    mut changed: impl Iterator<Item = &'a Resource>,
    clusters: &Substream,
    endpoints: Option<&Substream>,
) -> Completeness {
    let lacking = changed.find_map(|cluster| {
        let name = cluster.endpoints()?;
        let wanted = clusters.subscription.covers(cluster.name());
        let covered = endpoints.is_some_and(|endpoints| endpoints.subscription.covers(name));
        (wanted && !covered).then(|| Arc::clone(name))
    });
    lacking.map_or(Completeness::Complete, Completeness::Lacking)
}

/// What decides where a client sends its traffic, in contrast to what it runs with.
const FORWARDING: [ResourceType; 6] = [
    ResourceType::Cluster,
    ResourceType::Endpoints,
    ResourceType::Listener,
    ResourceType::ScopedRoute,
    ResourceType::Route,
    ResourceType::VirtualHost,
];
