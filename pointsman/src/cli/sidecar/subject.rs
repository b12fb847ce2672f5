use std::net::IpAddr;

use anyhow::bail;
use pointsman_catalog::{GroupName, IdentityPattern, NodeId};
use pointsman_xds::Identity;

use crate::spiffe;

/// Whose bootstrap it is.
pub(super) struct Subject {
    pub(super) who: Who,
    pub(super) listen: IpAddr,
}

pub(super) enum Who {
    Sidecar(NodeId),
    /// Every member of a group, which has these identities.
    Members(GroupName, IdentityPattern),
}

impl Subject {
    /// Envoy's node.id.
    pub(super) fn name(&self) -> &str {
        match &self.who {
            Who::Sidecar(node) => node.as_str(),
            Who::Members(group, _) => group.as_str(),
        }
    }

    /// Whether it is whom a certificate names; the control plane would refuse another.
    pub(super) fn accepts(&self, identity: &Identity) -> anyhow::Result<()> {
        match &self.who {
            Who::Sidecar(node) if spiffe::sidecar(identity).as_ref() != Some(node) => bail!(
                "it is that of {identity}, and sidecar {node} is \
                 spiffe://<trust domain>/pointsman/sidecar/{node}: name its own certificate"
            ),
            Who::Members(group, pattern) if pattern.admits(identity.as_str()).is_none() => bail!(
                "it is that of {identity}, and the members of group {group} are {pattern}: name \
                 the certificate of a member"
            ),
            Who::Sidecar(_) | Who::Members(..) => Ok(()),
        }
    }
}
