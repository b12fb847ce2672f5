use std::{net::IpAddr, time::Duration};

use async_trait::async_trait;
use pointsman_envoy_config::LISTEN_METADATA;
use pointsman_xds::{Admission, Group, Lease, NodeDescription, NodeDirectory, Peer, Refusal};
use tracing::{info, warn};

/// Serves whoever may connect to the socket, and nothing but what one sidecar is to have.
#[derive(Debug)]
pub(super) struct CacheDirectory {
    pub(super) listen: IpAddr,
    pub(super) group: Group,
}

#[async_trait]
impl NodeDirectory for CacheDirectory {
    async fn admit(&self, node: &NodeDescription, _peer: &Peer) -> Result<Admission, Refusal> {
        let said = node.metadata.get(LISTEN_METADATA);
        let said = said.and_then(|address| address.parse::<IpAddr>().ok());
        if said != Some(self.listen) {
            let says = said.map_or_else(|| "nothing".to_owned(), |address| address.to_string());
            let refusal = format!(
                "the sidecar {} is not served: what is kept listens on {}, and its bootstrap says {says} \
                 (--listen of `sidecar bootstrap` and of `sidecar cache`)",
                node.id, self.listen
            );
            warn!("{refusal}");
            return Err(Refusal::Denied(refusal));
        }
        info!(node = %node.id, "a sidecar starts from what is kept");
        Ok(Admission {
            lease: Some(while_connected()),
            ..Admission::as_claimed(node, self.group.clone())
        })
    }
}

/// Makes the hand-over wait for it.
fn while_connected() -> Lease {
    Lease {
        cohort: "sidecar".into(),
        closed: Duration::ZERO,
        silent: Duration::ZERO,
        restored: Duration::ZERO,
    }
}
