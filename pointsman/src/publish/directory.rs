//! Which nodes are served, and in which group.

use std::{net::IpAddr, sync::Arc};

use async_trait::async_trait;
use pointsman_catalog::NodeId;
use pointsman_cutover::ports::Clock;
use pointsman_envoy_config::{CACHE_USER_AGENT, LISTEN_METADATA};
use pointsman_xds::{
    Admission, Group, Identity, NodeDescription, NodeDirectory, Peer, Refusal, ResourceType,
};
use tokio::sync::Mutex;
use tracing::info;

use super::{
    access_denials::AccessDenials,
    audience::Audience,
    leases,
    registry::{Candidate, Registry},
    state::{AdmissionError, PublishedState},
};
use crate::spiffe;

/// Sidecars over plain text: each is who it says it is.
#[derive(Debug)]
pub(super) struct PlaintextDirectory {
    admissions: Admissions,
    denials: Arc<AccessDenials>,
}

/// Sidecars with a certificate: each is who that says it is, and only those are served that are
/// registered, or whose identity a sidecar group admits.
#[derive(Debug)]
pub(super) struct CertificateDirectory {
    admissions: Admissions,
    denials: Arc<AccessDenials>,
}

/// Whom a certificate names.
enum Proven<'a> {
    /// A sidecar that may be registered.
    Registered(NodeId, &'a Identity),
    Member(Candidate),
}

/// Gives the sidecars that are let in their group.
#[derive(Clone, Debug)]
pub(super) struct Admissions {
    pub(super) state: Arc<Mutex<PublishedState>>,
    pub(super) registry: Arc<Registry>,
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
    async fn admit(&self, node: &NodeDescription, _peer: &Peer) -> Result<Admission, Refusal> {
        // A node whose name cannot be registered could not be counted by a barrier.
        let id = NodeId::registered(node.id.as_str())
            .map_err(|error| Refusal::Denied(error.to_string()))?;
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
        let cache = is_cache(node);
        if cache {
            check_listen(node, &audience)?;
        }
        let group = self.admissions.group(&mut state, node, &audience)?;
        info!(node = %node.id, %group, registered = is_registered, cache, "sidecar connected");
        Ok(Admission {
            observer: cache,
            ..Admission::as_claimed(node, group)
        })
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

    /// Whom `peer`'s certificate names.
    fn prove<'a>(&self, claimed: &str, peer: &'a Peer) -> Result<Proven<'a>, Refusal> {
        // The TLS listener requires a client certificate.
        let Some(identity) = &peer.identity else {
            return Err(Refusal::Denied(
                "the connection has no certificate".to_owned(),
            ));
        };
        let Some(id) = spiffe::sidecar(identity) else {
            return self.candidate(claimed, identity).map(Proven::Member);
        };
        if id.as_str() != claimed {
            self.denials.deny(
                identity.as_str(),
                &format!("it said that it is {claimed:?}"),
            );
            return Err(Refusal::Denied(format!(
                "{identity} is not served as {claimed}: node.id must be {id}, as the certificate \
                 says"
            )));
        }
        Ok(Proven::Registered(id, identity))
    }

    /// The member that `identity` makes of a sidecar that calls itself `claimed`.
    fn candidate(&self, claimed: &str, identity: &Identity) -> Result<Candidate, Refusal> {
        let Some((group, path)) = self.admissions.registry.group_of(identity) else {
            self.denials.deny(
                identity.as_str(),
                "its certificate is neither a sidecar's nor that of a sidecar group's member",
            );
            return Err(Refusal::Denied(format!(
                "{identity} is not served: a sidecar's SPIFFE ID is spiffe://<trust \
                 domain>/pointsman/sidecar/<node>, or one that a sidecar group admits (`pointsman fleet \
                 group list`)"
            )));
        };
        let id = NodeId::member(&group, path, claimed).map_err(|error| {
            self.denials.deny(identity.as_str(), &error.to_string());
            Refusal::Denied(format!("{identity} is not served: {error}"))
        })?;
        Ok(Candidate {
            id,
            group,
            identity: identity.clone(),
            listen: None,
        })
    }
}

#[async_trait]
impl NodeDirectory for CertificateDirectory {
    async fn admit(&self, node: &NodeDescription, peer: &Peer) -> Result<Admission, Refusal> {
        let proven = self.prove(node.id.as_str(), peer)?;
        let cache = is_cache(node);
        let mut state = self.admissions.state.lock().await;
        let (id, identity, audience, lease) = match proven {
            Proven::Registered(id, identity) => {
                let Some(audience) = state.audience(&id) else {
                    self.denials.deny(identity.as_str(), "nobody registered it");
                    return Err(not_served(
                        node,
                        "nobody registered it: `pointsman fleet register` says which databases it \
                         may see",
                    ));
                };
                (id, identity.clone(), audience, None)
            }
            Proven::Member(mut candidate) => {
                candidate.listen = listen_address(node);
                let (id, identity) = (candidate.id.clone(), candidate.identity.clone());
                let lease = (!cache).then(|| leases::of_member(&candidate.group));
                let registry = &self.admissions.registry;
                let joined = match cache {
                    true => registry.audience_of(&candidate),
                    false => registry.join(candidate),
                };
                let audience = joined.map_err(|refusal| {
                    self.denials.deny(identity.as_str(), &refusal.to_string());
                    refusal.map(|reason| format!("{identity} is not served: {reason}"))
                })?;
                (id, identity, audience, lease)
            }
        };
        if cache {
            check_listen(node, &audience)?;
        }
        let group = self.admissions.group(&mut state, node, &audience)?;
        info!(node = %id, %identity, %group, cache, "sidecar connected");
        Ok(Admission {
            node: id.as_str().into(),
            group,
            lease,
            observer: cache,
        })
    }

    fn reporter(
        &self,
        claimed: &pointsman_xds::NodeId,
        peer: &Peer,
    ) -> Result<pointsman_xds::NodeId, Refusal> {
        let id = match self.prove(claimed.as_str(), peer)? {
            Proven::Registered(id, _) => id,
            Proven::Member(Candidate { id, .. }) => {
                // It reports in the first second, perhaps before it was admitted, and tries again.
                if self.admissions.registry.get(&id).is_none() {
                    return Err(Refusal::Unavailable(format!("{id} is not connected yet")));
                }
                id
            }
        };
        Ok(id.as_str().into())
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
    ) -> Result<Group, Refusal> {
        state
            .admit(audience, self.clock.now())
            .map_err(|error| no_snapshot(node, &error))?;
        Ok(audience.group())
    }
}

/// Whether it is the cache beside a sidecar: it is sent what the sidecar is sent, and counts for nobody.
fn is_cache(node: &NodeDescription) -> bool {
    node.user_agent == CACHE_USER_AGENT
}

/// A cache serves sidecars that listen where it says, so it must be right about that before it is needed.
fn check_listen(cache: &NodeDescription, audience: &Audience) -> Result<(), Refusal> {
    let own = audience.listen;
    match listen_address(cache) {
        Some(said) if said == own => Ok(()),
        Some(said) => Err(not_served(
            cache,
            &format!(
                "its cache was started with --listen {said}, and the sidecar listens on {own}"
            ),
        )),
        None => Err(not_served(
            cache,
            "its cache does not say where the sidecar listens",
        )),
    }
}

/// Where a node says that it listens.
fn listen_address(node: &NodeDescription) -> Option<IpAddr> {
    node.metadata.get(LISTEN_METADATA)?.parse().ok()
}

/// That there is no snapshot for a node says nothing of what it may have.
pub(super) fn no_snapshot(node: &NodeDescription, error: &AdmissionError) -> Refusal {
    Refusal::Unavailable(format!("node {} is not served: {error}", node.id))
}

fn not_served(node: &NodeDescription, reason: &str) -> Refusal {
    Refusal::Denied(format!("node {} is not served: {reason}", node.id))
}
