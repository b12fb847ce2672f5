//! Which nodes are served, and in which group.

use std::{net::IpAddr, sync::Arc};

use async_trait::async_trait;
use pointsman_catalog::NodeId;
use pointsman_cutover::ports::Clock;
use pointsman_envoy_config::LISTEN_METADATA;
use pointsman_xds::{
    Group, Identity, NodeDescription, NodeDirectory, Peer, PermissionDenied, ResourceType,
};
use tokio::sync::Mutex;
use tracing::info;

use super::{access_denials::AccessDenials, audience::Audience, state::PublishedState};
use crate::spiffe;

/// Sidecars over plain text: each is who it says it is.
#[derive(Debug)]
pub(super) struct PlaintextDirectory {
    admissions: Admissions,
    denials: Arc<AccessDenials>,
}

/// Sidecars with a certificate: each is who that says it is, and only those that are
/// registered are served.
#[derive(Debug)]
pub(super) struct CertificateDirectory {
    admissions: Admissions,
    denials: Arc<AccessDenials>,
}

/// Gives the sidecars that are let in their group.
#[derive(Clone, Debug)]
pub(super) struct Admissions {
    pub(super) state: Arc<Mutex<PublishedState>>,
    pub(super) clock: Arc<dyn Clock>,
}

impl PlaintextDirectory {
    pub(super) fn new(admissions: Admissions, denials: Arc<AccessDenials>) -> Self {
        Self {
            admissions,
            denials,
        }
    }
}

#[async_trait]
impl NodeDirectory for PlaintextDirectory {
    /// A registered node is served where the registry says that it listens; another one
    /// where it says so itself, and is shown as unregistered.
    async fn admit(&self, node: &NodeDescription, _peer: &Peer) -> Result<Group, PermissionDenied> {
        // A node whose name cannot be registered could not be counted by a barrier.
        let id =
            NodeId::new(node.id.as_str()).map_err(|error| PermissionDenied(error.to_string()))?;
        let mut state = self.admissions.state.lock().await;
        let registered = state.audience(&id);
        let is_registered = registered.is_some();
        let audience = registered
            .or_else(|| Some(Audience::of_all(listen_address(node)?)))
            .ok_or_else(|| {
                not_served(
                    node,
                    "nobody registered it, and its metadata does not say on which IP address it \
                     listens: make its bootstrap with `pointsman sidecar bootstrap`",
                )
            })?;
        let group = self.admissions.group(&mut state, node, &audience)?;
        info!(node = %node.id, %group, registered = is_registered, "sidecar connected");
        Ok(group)
    }

    fn on_missing_resource(&self, node: &pointsman_xds::NodeId, kind: ResourceType, name: &str) {
        self.denials.missing_resource(node.as_str(), kind, name);
    }
}

impl CertificateDirectory {
    pub(super) fn new(admissions: Admissions, denials: Arc<AccessDenials>) -> Self {
        Self {
            admissions,
            denials,
        }
    }

    /// The node that `peer`'s certificate names, if it is the one that it says it is.
    fn prove<'a>(
        &self,
        claimed: &pointsman_xds::NodeId,
        peer: &'a Peer,
    ) -> Result<(NodeId, &'a Identity), PermissionDenied> {
        // The TLS listener requires a client certificate.
        let Some(identity) = &peer.identity else {
            return Err(PermissionDenied(
                "the connection has no certificate".to_owned(),
            ));
        };
        let Some(id) = spiffe::sidecar(identity) else {
            self.denials
                .deny(identity.as_str(), "its certificate is not a sidecar's");
            return Err(PermissionDenied(format!(
                "{identity} is not served: a sidecar's SPIFFE ID is spiffe://<trust \
                 domain>/pointsman/sidecar/<node>"
            )));
        };
        if id.as_str() != claimed.as_str() {
            self.denials.deny(
                identity.as_str(),
                &format!("it said that it is {:?}", claimed.as_str()),
            );
            return Err(PermissionDenied(format!(
                "{identity} is not served as {claimed}: node.id must be {id}, as the certificate \
                 says"
            )));
        }
        Ok((id, identity))
    }
}

#[async_trait]
impl NodeDirectory for CertificateDirectory {
    async fn admit(&self, node: &NodeDescription, peer: &Peer) -> Result<Group, PermissionDenied> {
        let (id, identity) = self.prove(&node.id, peer)?;
        let mut state = self.admissions.state.lock().await;
        let Some(audience) = state.audience(&id) else {
            self.denials.deny(identity.as_str(), "nobody registered it");
            return Err(not_served(
                node,
                "nobody registered it: `pointsman fleet register` says which databases it may \
                 see",
            ));
        };
        let group = self.admissions.group(&mut state, node, &audience)?;
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
        self.denials.missing_resource(node.as_str(), kind, name);
    }
}

impl Admissions {
    /// The group of `audience`, which has its snapshot from now on.
    fn group(
        &self,
        state: &mut PublishedState,
        node: &NodeDescription,
        audience: &Audience,
    ) -> Result<Group, PermissionDenied> {
        state
            .admit(audience, self.clock.now())
            .map_err(|error| not_served(node, &error.to_string()))?;
        Ok(audience.group())
    }
}

/// Where a node says that it listens.
fn listen_address(node: &NodeDescription) -> Option<IpAddr> {
    node.metadata.get(LISTEN_METADATA)?.parse().ok()
}

fn not_served(node: &NodeDescription, reason: &str) -> PermissionDenied {
    PermissionDenied(format!("node {} is not served: {reason}", node.id))
}
