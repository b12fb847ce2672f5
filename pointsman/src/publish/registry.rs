use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
    time::Duration,
};

use pointsman_catalog::{DatabaseName, Node, NodeId};
use pointsman_xds::{Fleet, SnapshotCache};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::audience::Audience;

/// The registered sidecars, as last published. It can be asked without waiting for a publish.
#[derive(Debug)]
pub(crate) struct Registry {
    fleet: Arc<Fleet>,
    cache: Arc<SnapshotCache>,
    nodes: RwLock<BTreeMap<NodeId, RegisteredNode>>,
}

/// What the registry says of one sidecar.
#[derive(Clone, Debug)]
pub(super) struct RegisteredNode {
    pub(super) audience: Audience,
    /// It tries a change before the others.
    pub(super) canary: bool,
}

impl Registry {
    /// Nobody is registered yet; `fleet` is told who is, and `cache` whose streams are to end.
    pub(super) fn new(fleet: Arc<Fleet>, cache: Arc<SnapshotCache>) -> Self {
        Self {
            fleet,
            cache,
            nodes: RwLock::default(),
        }
    }

    /// From now on these are registered, and nobody else.
    pub(super) fn replace<'a>(&self, nodes: impl IntoIterator<Item = &'a Node>) {
        let nodes: BTreeMap<_, _> = nodes
            .into_iter()
            .map(|node| {
                let registered = RegisteredNode {
                    audience: Audience::from(node),
                    canary: node.canary,
                };
                (node.id.clone(), registered)
            })
            .collect();
        let ids = nodes.keys();
        self.fleet
            .set_registered(ids.map(|id| pointsman_xds::NodeId::new(id.as_str())));
        *self.nodes.write().unwrap_or_else(PoisonError::into_inner) = nodes;
    }

    /// Ends the streams of nodes for which something else exists now. They come again at once
    /// and are told of that. One that is retired is not served again, if it has a certificate.
    pub(super) fn dismiss_changed(&self) {
        let nodes = self.read();
        for status in self.fleet.status() {
            let Some(served) = &status.group else {
                continue;
            };
            let id = NodeId::new(status.id.as_str()).ok();
            let registered = id.as_ref().and_then(|id| nodes.get(id));
            let is_proven = status.peers.iter().any(|peer| peer.identity.is_some());
            let has_changed = match registered.map(|node| &node.audience) {
                None => is_proven,
                // Over plain text a sidecar that moves is restarted with its new bootstrap.
                Some(audience) => {
                    *served != audience.group() && (is_proven || audience.listens_as(served))
                }
            };
            if status.connected() && has_changed {
                info!(node = %status.id, %served, "what exists for it has changed: it is to come again");
                self.cache.dismiss(served, &status.id);
            }
        }
    }

    /// Ends such streams again and again, until `stop`: a node may have been admitted while the
    /// registry changed.
    pub(super) async fn run(&self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(RECHECK) => self.dismiss_changed(),
            }
        }
    }

    /// Whether `database` exists for a registered sidecar.
    pub(crate) fn sees(&self, node: &NodeId, database: &DatabaseName) -> bool {
        let nodes = self.read();
        let registered = nodes.get(node);
        registered.is_some_and(|node| node.audience.includes(database))
    }

    /// What the registry says of `node`, if it is registered.
    pub(super) fn get(&self, node: &NodeId) -> Option<RegisteredNode> {
        self.read().get(node).cloned()
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<NodeId, RegisteredNode>> {
        self.nodes.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A sidecar that missed its dismissal waits so long for its new entitlement.
const RECHECK: Duration = Duration::from_secs(5);
