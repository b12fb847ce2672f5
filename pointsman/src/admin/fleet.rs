pub(super) mod group;
mod watch;

use std::{collections::BTreeSet, time::UNIX_EPOCH};

use pointsman_catalog::{DatabaseName, Node, NodeId, Registered, Registration, store::Revision};
use pointsman_cutover::ports::Convergence;
use pointsman_proto::v1;
use pointsman_xds::{Delivery, Nack, NodeRecord, Observer, time_of_day};
use tokio::time::Instant;
use tonic::Status;

pub(super) use self::watch::follow;
use super::{
    context::AdminContext,
    grpc_status::{invalid, refuse},
    usage,
};
use crate::publish::{AccessDenial, NodeView, TypeView, micros};

pub(super) fn status(admin: &AdminContext) -> v1::FleetStatusResponse {
    let nodes = admin.publishing.view.nodes().into_iter();
    let denials = admin.publishing.denials.list().into_iter();
    v1::FleetStatusResponse {
        nodes: nodes
            .map(|node| v1::Node {
                usage: Some(usage::of_node(admin, &node.id)),
                ..row(node)
            })
            .collect(),
        access_denials: denials.map(access_denial).collect(),
        caches: caches(admin, |_| true),
    }
}

/// The caches beside those of the sidecars that are `wanted`.
fn caches(admin: &AdminContext, wanted: impl Fn(&str) -> bool) -> Vec<v1::SidecarCache> {
    let caches = admin.publishing.view.caches().into_iter();
    let caches = caches.filter(|cache| wanted(cache.node.as_str()));
    caches.map(cache).collect()
}

pub(super) fn show(admin: &AdminContext, node: &str) -> Result<v1::NodeRecord, Status> {
    let id = NodeId::new(node).map_err(invalid)?;
    let (view, record) = admin.publishing.view.node(&id).ok_or_else(|| {
        Status::not_found(format!(
            "no sidecar {id} is registered or was connected of late; look at `fleet status`"
        ))
    })?;
    let NodeRecord {
        status,
        deliveries,
        nacks,
    } = record;
    let about = status.about.as_ref();
    Ok(v1::NodeRecord {
        node: Some(v1::Node {
            usage: Some(usage::of_node(admin, &view.id)),
            ..row(view)
        }),
        user_agent: about.map_or_else(String::new, |about| about.user_agent.to_string()),
        version: about.map_or_else(String::new, |about| about.user_agent_version.to_string()),
        connected_ms: status.connected_since.map(unix_ms),
        gone_ms: status.gone.map(unix_ms),
        retired_ms: status.retired.map(unix_ms),
        deliveries: deliveries.iter().map(delivery).collect(),
        nacks: nacks.iter().map(|it| nack(it)).collect(),
        caches: caches(admin, |node| node == id.as_str()),
    })
}

pub(super) async fn register(
    admin: &AdminContext,
    request: &v1::RegisterNodeRequest,
) -> Result<String, Status> {
    let id = NodeId::registered(request.node.as_str()).map_err(invalid)?;
    let listen = request.listen.parse().map_err(|_error| {
        invalid(format_args!(
            "the listen address of {id} is {:?}; allowed: an IP address",
            request.listen
        ))
    })?;
    let wanted = entitlement(admin, &id, request).await?;
    let node = Node {
        id: id.clone(),
        listen,
        registered_at: admin.clock.now(),
        canary: request.canary.unwrap_or_default(),
        databases: wanted.clone().unwrap_or_default(),
    };
    let registration = admin.catalog.register(node).await.map_err(refuse)?;
    let Registration {
        mut outcome,
        mut revision,
    } = registration;
    if let Some(databases) = wanted {
        let entitled = admin.catalog.entitle(&id, databases);
        let entitled = entitled.await.map_err(refuse)?;
        if entitled.is_some() && outcome == Registered::Unchanged {
            outcome = Registered::Changed;
        }
        revision = revision.max(entitled);
    }
    if let Some(canary) = request.canary {
        let changed = admin.catalog.set_canary(&id, canary);
        revision = revision.max(changed.await.map_err(refuse)?);
    }
    published(admin, revision).await?;
    Ok(match outcome {
        Registered::New => "new",
        Registered::Unchanged => "unchanged",
        Registered::Moved => "moved",
        Registered::Changed => "changed",
    }
    .to_owned())
}

/// The databases that the request says exist for a node: `Some(None)` is all, and `None` leaves
/// the node's databases as they are.
async fn entitlement(
    admin: &AdminContext,
    id: &NodeId,
    request: &v1::RegisterNodeRequest,
) -> Result<Option<Option<BTreeSet<DatabaseName>>>, Status> {
    if request.all_databases {
        return Ok(Some(None));
    }
    let names: BTreeSet<_> = request
        .databases
        .iter()
        .map(|name| DatabaseName::new(name.as_str()))
        .collect::<Result<_, _>>()
        .map_err(invalid)?;
    for name in &names {
        admin.catalog.database(name).await.map_err(refuse)?;
    }
    if !names.is_empty() {
        return Ok(Some(Some(names)));
    }
    let proven = !admin.xds_identity.is_empty();
    if proven && admin.catalog.node(id).await.map_err(refuse)?.is_none() {
        return Err(invalid(format_args!(
            "which databases may {id} see? Say --database NAME for each, or --all-databases"
        )));
    }
    Ok(None)
}

pub(super) async fn retire(admin: &AdminContext, node: &str) -> Result<(), Status> {
    let id = NodeId::new(node).map_err(invalid)?;
    if id.is_member() {
        return give_up(admin, &id);
    }
    let revision = admin.catalog.retire(&id).await.map_err(refuse)?;
    published(admin, Some(revision)).await
}

/// Ends the lease of a member that is not connected.
fn give_up(admin: &AdminContext, member: &NodeId) -> Result<(), Status> {
    if admin.publishing.registry.give_up(member) {
        return Ok(());
    }
    let view = admin.publishing.view.node(member).map(|(view, _)| view);
    if view.is_some_and(|view| view.streams > 0) {
        return Err(Status::failed_precondition(format!(
            "{member} is a connected member of a sidecar group, and nobody registered it: stop it, and its \
             lease ends by itself; or remove its group (fleet group remove)"
        )));
    }
    Err(Status::not_found(format!(
        "no member {member} is awaited; look at `fleet status`"
    )))
}

/// Waits until the change is published: a sidecar that starts now must be counted as registered.
async fn published(admin: &AdminContext, revision: Option<Revision>) -> Result<(), Status> {
    let follower = &admin.publishing.follower;
    follower.until_published(revision).await.map_err(refuse)?;
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
            .map(|(node, reason)| format!("{node} ({reason})"))
            .collect(),
        lagging: names(convergence.lagging),
        absent: names(convergence.absent),
        unregistered: names(convergence.unregistered),
        left: names(convergence.left),
        joined: u32::try_from(convergence.joined.len()).unwrap_or(u32::MAX),
    }
}

fn row(node: NodeView) -> v1::Node {
    v1::Node {
        node: node.id,
        listen: node.listen.map_or_else(String::new, |ip| ip.to_string()),
        registered: node.registered,
        connected: node.streams > 0,
        state: node.state.label().to_owned(),
        message: node.message,
        acked_ms_ago: node.acked_ms_ago,
        types: node.types.into_iter().map(of_type).collect(),
        ack_us: node.ack_us,
        peers: node.peers.iter().map(ToString::to_string).collect(),
        streams: u32::try_from(node.streams).unwrap_or(u32::MAX),
        synced_to: node.synced_to,
        nacks: node.nacks,
        canary: node.canary,
        usage: None,
        databases: node.databases.map(databases),
        group: node.group.map_or_else(String::new, String::from),
        identity: node.identity.unwrap_or_default(),
        lease: node.lease.unwrap_or_default(),
    }
}

fn databases(names: BTreeSet<DatabaseName>) -> v1::Databases {
    v1::Databases {
        names: names.into_iter().map(String::from).collect(),
    }
}

fn access_denial(denial: AccessDenial) -> v1::AccessDenial {
    v1::AccessDenial {
        principal: denial.principal,
        reason: denial.reason,
        count: denial.occurrences.count,
        first_ms: denial.occurrences.first.0,
        last_ms: denial.occurrences.last.0,
    }
}

fn cache(cache: Observer) -> v1::SidecarCache {
    let asked = cache.heard.elapsed().as_millis();
    v1::SidecarCache {
        node: cache.node.to_string(),
        peer: cache.peer.address.to_string(),
        version: cache.version,
        since_ms: unix_ms(cache.since),
        asked_ms_ago: u64::try_from(asked).unwrap_or(u64::MAX),
    }
}

fn of_type(of_type: TypeView) -> v1::NodeType {
    v1::NodeType {
        r#type: of_type.service.to_owned(),
        state: of_type.state.label().to_owned(),
        reason: of_type.reason,
        resources: of_type.resources,
        ack_us: of_type.ack_us,
    }
}

fn delivery(delivery: &Delivery) -> v1::Delivery {
    let Delivery {
        kind,
        sent,
        acknowledged,
        nacked,
    } = delivery;
    let acked = acknowledged.as_ref();
    v1::Delivery {
        r#type: kind.service().to_owned(),
        sent_ms: sent.as_ref().map(|sent| unix_ms(sent.at)),
        sent: sent.as_ref().map_or(0, |sent| sent.sequence.get()),
        acked_ms: acked.map(|acked| unix_ms(acked.at)),
        acked: acked.map_or(0, |acked| acked.sequence.get()),
        ack_us: acked.map_or(0, |acked| micros(acked.after)),
        version: acked.map_or_else(String::new, |acked| acked.version.to_string()),
        nacked_ms: nacked.as_ref().map(|nack| unix_ms(nack.at)),
    }
}

fn nack(nack: &Nack) -> v1::NodeNack {
    v1::NodeNack {
        r#type: nack.kind.service().to_owned(),
        publish: nack.sequence.get(),
        at_ms: unix_ms(nack.at),
        reason: nack.message.to_string(),
        resources: nack.resources.iter().map(ToString::to_string).collect(),
        count: u64::try_from(nack.count).unwrap_or(u64::MAX),
    }
}

fn unix_ms(at: Instant) -> u64 {
    let since = time_of_day(at).duration_since(UNIX_EPOCH);
    let since = since.unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
