use pointsman_catalog::{Node, NodeId, Registered, UnixMillis};
use pointsman_cutover::ports::Convergence;
use pointsman_proto::v1;
use tonic::Status;

use super::{
    Admin,
    refusal::{invalid, refuse},
};
use crate::fleet::Publisher;

pub(super) fn status(publisher: &Publisher) -> v1::FleetStatusResponse {
    let nodes = publisher
        .nodes()
        .into_iter()
        .map(|node| v1::Node {
            node: node.id,
            listen: node.listen.map_or_else(String::new, |ip| ip.to_string()),
            registered: node.registered,
            connected: node.connected,
            state: node.state.label().to_owned(),
            words: node.words,
            acked_ms_ago: node.acked_ms_ago,
        })
        .collect();
    v1::FleetStatusResponse { nodes }
}

pub(super) async fn register(
    admin: &Admin,
    request: &v1::RegisterNodeRequest,
) -> Result<String, Status> {
    let id = NodeId::new(request.node.as_str()).map_err(invalid)?;
    let listen = request.listen.parse().map_err(|_error| {
        invalid(format_args!(
            "the listen address of {id} is {:?}; allowed: an IP address",
            request.listen
        ))
    })?;
    let node = Node {
        id,
        listen,
        registered_at: UnixMillis::now(),
    };
    let outcome = admin.catalog.register(node).await.map_err(refuse)?;
    admin.publisher.refresh().await.map_err(refuse)?;
    Ok(match outcome {
        Registered::New => "new",
        Registered::Unchanged => "unchanged",
        Registered::Moved => "moved",
    }
    .to_owned())
}

pub(super) async fn retire(admin: &Admin, node: &str) -> Result<(), Status> {
    let id = NodeId::new(node).map_err(invalid)?;
    admin.catalog.retire(&id).await.map_err(refuse)?;
    admin.publisher.refresh().await.map_err(refuse)?;
    Ok(())
}

pub(super) fn convergence(convergence: Convergence) -> v1::Convergence {
    let names = |nodes: Vec<NodeId>| nodes.into_iter().map(String::from).collect();
    v1::Convergence {
        reached: convergence.reached,
        acknowledged: names(convergence.acknowledged),
        refused: convergence
            .refused
            .into_iter()
            .map(|(node, words)| format!("{node} ({words})"))
            .collect(),
        lagging: names(convergence.lagging),
        absent: names(convergence.absent),
        unregistered: names(convergence.unregistered),
    }
}
