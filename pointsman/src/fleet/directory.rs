//! Who is served, and as what.

use std::{
    net::IpAddr,
    sync::{Arc, PoisonError},
};

use async_trait::async_trait;
use pointsman_catalog::{NodeId, UnixMillis};
use pointsman_envoy_config::LISTEN_METADATA;
use pointsman_xds::{
    Group, Identity, NodeDescription, NodeDirectory, Peer, PermissionDenied, ResourceType,
};
use tracing::{info, warn};

use super::{Publisher, audience::Audience, world::World};
use crate::identity;

/// Sidecars over plain text: each is who it says it is.
#[async_trait]
impl NodeDirectory for Publisher {
    /// A registered node is served where the registry says that it listens; another one
    /// where it says so itself, and is shown as unregistered.
    async fn admit(&self, node: &NodeDescription, _peer: &Peer) -> Result<Group, PermissionDenied> {
        // A name that cannot be registered could not be counted, either.
        let id =
            NodeId::new(node.id.as_str()).map_err(|error| PermissionDenied(error.to_string()))?;
        let mut world = self.world.lock().await;
        let registered = world.audience(&id);
        let is_registered = registered.is_some();
        let audience = registered
            .or_else(|| Some(Audience::of_all(said(node)?)))
            .ok_or_else(|| {
                refusal(
                    node,
                    "nobody registered it, and its metadata does not say on which IP address it \
                     listens: make its bootstrap with `pointsman sidecar bootstrap`",
                )
            })?;
        let group = self.serve(&mut world, node, &audience)?;
        info!(node = %node.id, %group, registered = is_registered, "sidecar connected");
        Ok(group)
    }

    fn on_missing_resource(&self, node: &pointsman_xds::NodeId, kind: ResourceType, name: &str) {
        self.tries.asked(node.as_str(), kind, name);
    }
}

/// Sidecars with a certificate: each is who that says it is, and only those that are
/// registered are served.
#[derive(Debug)]
pub(crate) struct Proven(pub(crate) Arc<Publisher>);

#[async_trait]
impl NodeDirectory for Proven {
    async fn admit(&self, node: &NodeDescription, peer: &Peer) -> Result<Group, PermissionDenied> {
        let (id, identity) = self.prove(&node.id, peer)?;
        let mut world = self.0.world.lock().await;
        let Some(audience) = world.audience(&id) else {
            self.0
                .tries
                .refused(identity.as_str(), "nobody registered it");
            return Err(refusal(
                node,
                "nobody registered it: `pointsman fleet register` says which databases it may \
                 see",
            ));
        };
        let group = self.0.serve(&mut world, node, &audience)?;
        info!(node = %node.id, %identity, %group, "sidecar connected");
        Ok(group)
    }

    fn may_report(
        &self,
        node: &pointsman_xds::NodeId,
        peer: &Peer,
    ) -> Result<(), PermissionDenied> {
        self.prove(node, peer).map(|_| ())
    }

    fn on_missing_resource(&self, node: &pointsman_xds::NodeId, kind: ResourceType, name: &str) {
        self.0.tries.asked(node.as_str(), kind, name);
    }
}

impl Proven {
    /// The node that `peer`'s certificate names, if it is the one that it says it is.
    fn prove<'a>(
        &self,
        said: &pointsman_xds::NodeId,
        peer: &'a Peer,
    ) -> Result<(NodeId, &'a Identity), PermissionDenied> {
        // The listener lets nobody in without a certificate.
        let Some(identity) = &peer.identity else {
            return Err(PermissionDenied(
                "the connection has no certificate".to_owned(),
            ));
        };
        let Some(id) = identity::sidecar(identity) else {
            self.0
                .tries
                .refused(identity.as_str(), "its certificate is not a sidecar's");
            return Err(PermissionDenied(format!(
                "{identity} is not served: a sidecar's SPIFFE ID is spiffe://<trust \
                 domain>/pointsman/sidecar/<node>"
            )));
        };
        if id.as_str() != said.as_str() {
            self.0.tries.refused(
                identity.as_str(),
                &format!("it said that it is {:?}", said.as_str()),
            );
            return Err(PermissionDenied(format!(
                "{identity} is not served as {said}: node.id must be {id}, as the certificate \
                 says"
            )));
        }
        Ok((id, identity))
    }
}

impl Publisher {
    /// Ends the streams of nodes for which something else exists now; they come again at once
    /// and are told of that. One that is retired is not served again, if it has a certificate.
    pub(super) fn dismiss_changed(&self) {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        for status in self.fleet.status() {
            let Some(served) = &status.group else {
                continue;
            };
            let id = NodeId::new(status.id.as_str()).ok();
            let audience = id.as_ref().and_then(|id| known.registered.get(id));
            let is_proven = status.peers.iter().any(|peer| peer.identity.is_some());
            let has_changed = match audience {
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

    /// Makes sure that a group has its snapshot, and names it.
    fn serve(
        &self,
        world: &mut World,
        node: &NodeDescription,
        audience: &Audience,
    ) -> Result<Group, PermissionDenied> {
        let news = world
            .admit(audience)
            .map_err(|words| refusal(node, &words))?;
        // Whoever connects during a hold gets what is left of it, not its whole length.
        let held = world.next_hold_end().is_some();
        if held && let Err(words) = world.render_held(UnixMillis::now()) {
            warn!(node = %node.id, words, "what is left of a hold could not be rendered");
        }
        if news || held {
            self.send(world).map_err(|words| refusal(node, &words))?;
        }
        Ok(audience.group())
    }
}

/// Where a node says that it listens.
fn said(node: &NodeDescription) -> Option<IpAddr> {
    node.metadata.get(LISTEN_METADATA)?.parse().ok()
}

fn refusal(node: &NodeDescription, words: &str) -> PermissionDenied {
    PermissionDenied(format!("node {} is not served: {words}", node.id))
}
