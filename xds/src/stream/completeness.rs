//! Whether a client has asked for everything that it needs. A client asks for one type after the
//! other, so it can have everything that it has asked for and still not be done.

use std::sync::Arc;

use super::{
    client_state::ClientState,
    substream::{Substream, Substreams},
};
use crate::{
    published::PublishedSnapshot,
    resource::{Resource, ResourceChange, ResourceType},
};

/// Whether a client has subscribed to the endpoints of all its clusters.
#[derive(Debug, Default)]
pub(super) enum Completeness {
    #[default]
    Unknown,
    Complete,
    /// It has not subscribed to these endpoints.
    Lacking(Arc<str>),
}

impl Completeness {
    /// The subscription of clusters has changed, or endpoints have been unsubscribed.
    pub(super) fn reset(&mut self) {
        *self = Self::Unknown;
    }

    /// Endpoints have been subscribed.
    pub(super) fn on_endpoints_subscribed(&mut self, endpoints: &ClientState) {
        if let Self::Lacking(name) = self
            && endpoints.wants(name)
        {
            *self = Self::Unknown;
        }
    }

    /// Clusters have changed; `changes` is `None` if the changes are not known.
    pub(super) fn on_clusters_changed(
        &mut self,
        changes: Option<&[ResourceChange]>,
        clusters: &ClientState,
        endpoints: Option<&ClientState>,
    ) {
        *self = match (std::mem::take(self), changes) {
            (Self::Complete, Some(changes)) => {
                let after = changes.iter().filter_map(|change| change.after.as_ref());
                Self::of(after, clusters, endpoints)
            }
            (Self::Unknown | Self::Complete | Self::Lacking(_), _) => Self::Unknown,
        };
    }

    pub(super) fn is_complete(&mut self, substreams: &Substreams) -> bool {
        let client =
            |kind: ResourceType| substreams[kind.index()].as_deref().map(Substream::client);
        let Some(clusters) = client(ResourceType::Cluster) else {
            return true;
        };
        if matches!(self, Self::Unknown) {
            let all = clusters.newest_set().into_iter().flat_map(|set| set.iter());
            *self = Self::of(all, clusters, client(ResourceType::Endpoints));
        }
        matches!(self, Self::Complete)
    }

    fn of<'a>(
        mut changed: impl Iterator<Item = &'a Resource>,
        clusters: &ClientState,
        endpoints: Option<&ClientState>,
    ) -> Self {
        let lacking = changed.find_map(|cluster| {
            let name = cluster.endpoints()?;
            let subscribed = endpoints.is_some_and(|endpoints| endpoints.wants(name));
            (clusters.wants(cluster.name()) && !subscribed).then(|| Arc::clone(name))
        });
        lacking.map_or(Self::Complete, Self::Lacking)
    }
}

/// Whether a client has not yet asked for the types by which it forwards traffic. A client that
/// reconnects may have everything of the types that it asks for first.
///
/// A client that takes clusters or listeners by wildcard is a proxy: it asks for both.
pub(super) fn has_only_begun(substreams: &Substreams, published: &PublishedSnapshot) -> bool {
    let asked = |kind: ResourceType| substreams[kind.index()].is_some();
    let exists = |kind: ResourceType| !published.snapshot.set(kind).is_empty();
    let of_proxies = [ResourceType::Cluster, ResourceType::Listener];
    let is_proxy = of_proxies.into_iter().any(|kind| {
        let substream = substreams[kind.index()].as_ref();
        substream.is_some_and(|substream| substream.client().subscription().is_wildcard())
    });
    if is_proxy {
        return of_proxies
            .into_iter()
            .any(|kind| exists(kind) && !asked(kind));
    }
    FORWARDING.into_iter().any(exists) && !FORWARDING.into_iter().any(asked)
}

/// The types that decide where a client sends its traffic.
const FORWARDING: [ResourceType; 6] = [
    ResourceType::Cluster,
    ResourceType::Endpoints,
    ResourceType::Listener,
    ResourceType::ScopedRoute,
    ResourceType::Route,
    ResourceType::VirtualHost,
];
