use std::net::IpAddr;

use async_trait::async_trait;
use pointsman_catalog::{NodeId, UnixMillis};
use pointsman_envoy_config::LISTEN_METADATA;
use pointsman_xds::{Group, NodeDescription, NodeDirectory, Peer, Refusal};
use tracing::{info, warn};

use super::{Publisher, world};

#[async_trait]
impl NodeDirectory for Publisher {
    /// A registered node is served where the registry says that it listens; another one
    /// where it says so itself, and is shown as unregistered.
    async fn admit(&self, node: &NodeDescription, _peer: &Peer) -> Result<Group, Refusal> {
        // A name that cannot be registered could not be counted, either.
        let id = NodeId::new(node.id.as_str()).map_err(|error| Refusal(error.to_string()))?;
        let mut world = self.world.lock().await;
        let registered = world.listen(&id);
        let listen = registered.or_else(|| said(node)).ok_or_else(|| {
            refusal(
                node,
                "nobody registered it, and its metadata does not say on which IP address it \
                 listens: make its bootstrap with `pointsman sidecar bootstrap`",
            )
        })?;
        let news = world.admit(listen).map_err(|words| refusal(node, &words))?;
        // Whoever connects during a hold gets what is left of it, not its whole length.
        let held = world.next_hold_end().is_some();
        if held && let Err(words) = world.render_held(UnixMillis::now()) {
            warn!(node = %node.id, words, "what is left of a hold could not be rendered");
        }
        if news || held {
            self.send(&world).map_err(|words| refusal(node, &words))?;
        }
        info!(node = %node.id, %listen, registered = registered.is_some(), "sidecar connected");
        Ok(world::group(listen))
    }
}

/// Where a node says that it listens.
fn said(node: &NodeDescription) -> Option<IpAddr> {
    node.metadata.get(LISTEN_METADATA)?.parse().ok()
}

fn refusal(node: &NodeDescription, words: &str) -> Refusal {
    Refusal(format!("node {} is not served: {words}", node.id))
}
