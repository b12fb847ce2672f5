mod watch;

use std::{collections::BTreeSet, time::UNIX_EPOCH};

use pointsman_catalog::{DatabaseName, Node, NodeId, Registered, UnixMillis};
use pointsman_cutover::ports::Convergence;
use pointsman_proto::v1;
use pointsman_xds::{Delivery, Nack, NodeRecord, time_of_day};
use tokio::time::Instant;
use tonic::Status;

pub(super) use self::watch::follow;
use super::{
    Admin,
    refusal::{invalid, refuse},
    usage,
};
use crate::{
    evidence::SessionCensus,
    fleet::{NodeView, Publisher, TryView, TypeView, micros, service},
};

pub(super) fn status(publisher: &Publisher, census: &SessionCensus) -> v1::FleetStatusResponse {
    let nodes = publisher.nodes().into_iter();
    let nodes = nodes
        .map(|node| v1::Node {
            usage: Some(usage::of_node(publisher, census, &node.id)),
            ..row(node)
        })
        .collect();
    v1::FleetStatusResponse {
        nodes,
        refused_tries: publisher.refused_tries().into_iter().map(tried).collect(),
    }
}

pub(super) fn show(
    publisher: &Publisher,
    census: &SessionCensus,
    node: &str,
) -> Result<v1::NodeRecord, Status> {
    let id = NodeId::new(node).map_err(invalid)?;
    let (view, record) = publisher.node(&id).ok_or_else(|| {
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
            usage: Some(usage::of_node(publisher, census, &view.id)),
            ..row(view)
        }),
        user_agent: about.map_or_else(String::new, |about| about.user_agent.to_string()),
        version: about.map_or_else(String::new, |about| about.user_agent_version.to_string()),
        connected_ms: status.connected_since.map(unix_ms),
        gone_ms: status.gone.map(unix_ms),
        retired_ms: status.retired.map(unix_ms),
        deliveries: deliveries.iter().map(delivery).collect(),
        refusals: nacks.iter().map(|nack| refusal(nack)).collect(),
    })
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
    let wanted = entitlement(admin, &id, request).await?;
    let node = Node {
        id: id.clone(),
        listen,
        registered_at: UnixMillis::now(),
        canary: request.canary.unwrap_or_default(),
        databases: wanted.clone().unwrap_or_default(),
    };
    let mut outcome = admin.catalog.register(node).await.map_err(refuse)?;
    if let Some(databases) = wanted
        && admin
            .catalog
            .entitle(&id, databases)
            .await
            .map_err(refuse)?
        && outcome == Registered::Unchanged
    {
        outcome = Registered::Changed;
    }
    if let Some(canary) = request.canary {
        let changed = admin.catalog.set_canary(&id, canary);
        changed.await.map_err(refuse)?;
    }
    admin.publisher.refresh().await.map_err(refuse)?;
    Ok(match outcome {
        Registered::New => "new",
        Registered::Unchanged => "unchanged",
        Registered::Moved => "moved",
        Registered::Changed => "changed",
    }
    .to_owned())
}

/// The databases that shall exist for a node, `Some(None)` for all; `None` leaves it as it is.
async fn entitlement(
    admin: &Admin,
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

fn row(node: NodeView) -> v1::Node {
    v1::Node {
        node: node.id,
        listen: node.listen.map_or_else(String::new, |ip| ip.to_string()),
        registered: node.registered,
        connected: node.streams > 0,
        state: node.state.label().to_owned(),
        words: node.words,
        acked_ms_ago: node.acked_ms_ago,
        types: node.types.into_iter().map(of_type).collect(),
        ack_us: node.ack_us,
        peers: node.peers.iter().map(ToString::to_string).collect(),
        streams: u32::try_from(node.streams).unwrap_or(u32::MAX),
        synced_to: node.synced_to,
        refusals: node.refusals,
        canary: node.canary,
        usage: None,
        databases: node.databases.map(|names| v1::Databases {
            names: names.into_iter().map(String::from).collect(),
        }),
    }
}

fn tried(line: TryView) -> v1::RefusedTry {
    v1::RefusedTry {
        whom: line.whom,
        words: line.words,
        count: line.of.count,
        first_ms: line.of.first.0,
        last_ms: line.of.last.0,
    }
}

fn of_type(of_type: TypeView) -> v1::NodeType {
    v1::NodeType {
        r#type: of_type.service.to_owned(),
        state: of_type.state.label().to_owned(),
        words: of_type.words,
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
        r#type: service(*kind).to_owned(),
        sent_ms: sent.as_ref().map(|sent| unix_ms(sent.at)),
        sent: sent.as_ref().map_or(0, |sent| sent.sequence.get()),
        acked_ms: acked.map(|acked| unix_ms(acked.at)),
        acked: acked.map_or(0, |acked| acked.sequence.get()),
        ack_us: acked.map_or(0, |acked| micros(acked.after)),
        version: acked.map_or_else(String::new, |acked| acked.version.to_string()),
        refused_ms: nacked.as_ref().map(|nack| unix_ms(nack.at)),
    }
}

fn refusal(nack: &Nack) -> v1::NodeRefusal {
    v1::NodeRefusal {
        r#type: service(nack.kind).to_owned(),
        publish: nack.sequence.get(),
        at_ms: unix_ms(nack.at),
        words: nack.message.to_string(),
        resources: nack.resources.iter().map(ToString::to_string).collect(),
        count: u64::try_from(nack.count).unwrap_or(u64::MAX),
    }
}

fn unix_ms(at: Instant) -> u64 {
    let since = time_of_day(at).duration_since(UNIX_EPOCH);
    let since = since.unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
