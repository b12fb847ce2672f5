mod row;
mod sync_state;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use pointsman_catalog::{DatabaseName, GroupName, NodeId};
use pointsman_envoy_config::LISTEN_METADATA;
use pointsman_xds::{Fleet, NodeRecord, NodeStatus, Observer, Peer, Sequence, TypeStatus};
use tokio::sync::watch;

use super::{
    audience::Audience,
    registry::{RegisteredNode, Registry},
};
pub(crate) use row::{NodeView, SyncState, TypeView, micros};

/// The registered sidecars and the members of sidecar groups, beside the connected ones.
#[derive(Debug)]
pub(crate) struct FleetView {
    fleet: Arc<Fleet>,
    registry: Arc<Registry>,
}

impl FleetView {
    /// Joins what `fleet` knows of connections with what `registry` says.
    pub(super) fn new(fleet: Arc<Fleet>, registry: Arc<Registry>) -> Self {
        Self { fleet, registry }
    }

    /// A row per sidecar that is registered, connected, or a member of a group.
    pub(crate) fn nodes(&self) -> Vec<NodeView> {
        let status = self.fleet.status();
        status.iter().map(|status| self.view(status)).collect()
    }

    /// A row with what is on record behind it; also of a sidecar that went.
    pub(crate) fn node(&self, id: &NodeId) -> Option<(NodeView, NodeRecord)> {
        let record = self.fleet.record(&id.as_str().into())?;
        Some((self.view(&record.status), record))
    }

    /// The caches beside sidecars that are connected, by sidecar.
    pub(crate) fn caches(&self) -> Vec<Observer> {
        self.fleet.observers()
    }

    /// The sidecars that barriers await, and whether each is connected.
    pub(crate) fn awaited(&self) -> BTreeMap<NodeId, bool> {
        let status = self.fleet.status().into_iter();
        let awaited = status.filter(NodeStatus::is_awaited);
        awaited
            .filter_map(|node| Some((NodeId::new(node.id.as_str()).ok()?, node.connected())))
            .collect()
    }

    /// The members of sidecar groups that barriers await.
    pub(super) fn members(&self) -> BTreeSet<pointsman_xds::NodeId> {
        let status = self.fleet.status().into_iter();
        let members = status.filter(|node| node.lease.is_some());
        members.map(|node| node.id).collect()
    }

    /// The members whose lease no stream holds.
    pub(crate) fn away(&self) -> Vec<NodeStatus> {
        self.fleet.away()
    }

    /// Keeps the lease of a member that is away.
    pub(crate) fn keep(&self, member: &NodeId) {
        self.fleet.keep_lease(&member.as_str().into());
    }

    /// Lets a lease that was kept end as if it had not been.
    pub(crate) fn release(&self, member: &NodeId) {
        self.fleet.release_lease(&member.as_str().into());
    }

    /// The sidecar groups that had members a short time ago, and have none now.
    pub(super) fn emptied_groups(&self) -> Vec<GroupName> {
        self.registry.emptied()
    }

    /// The sidecars that are connected and have `database`, and where this machine reaches them: the
    /// loopback addresses of another machine lead to strangers.
    pub(crate) fn reachable(&self, database: &DatabaseName) -> Vec<(NodeId, IpAddr)> {
        let status = self.fleet.status().into_iter();
        status
            .filter(NodeStatus::connected)
            .filter_map(|node| {
                let id = NodeId::new(node.id.as_str()).ok()?;
                let audience = self.registry.get(&id)?.audience;
                let reached = !audience.listen.is_loopback() || node.peers.iter().any(is_here);
                (reached && audience.includes(database)).then_some((id, audience.listen))
            })
            .collect()
    }

    /// Connected nodes that nobody registered.
    pub(super) fn unregistered(&self) -> Vec<NodeId> {
        let status = self.fleet.status().into_iter();
        status
            .filter(|status| status.connected() && !status.is_awaited())
            .filter_map(|status| NodeId::new(status.id.as_str()).ok())
            .collect()
    }

    /// Grows with every change of the fleet.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.fleet.watch()
    }

    fn view(&self, status: &NodeStatus) -> NodeView {
        let id = NodeId::new(status.id.as_str()).ok();
        let registered = id.and_then(|id| self.registry.get(&id));
        view(status, registered.as_ref())
    }
}

/// Whether a sidecar is on this machine.
fn is_here(peer: &Peer) -> bool {
    peer.address == Peer::LOCAL || peer.address.ip().is_loopback()
}

fn view(status: &NodeStatus, registered: Option<&RegisteredNode>) -> NodeView {
    let audience = registered.map(|node| &node.audience);
    let membership = registered.and_then(|node| node.membership.as_ref());
    let (state, message) = sync_state::of_node(status, audience);
    NodeView {
        databases: audience.and_then(Audience::databases).cloned(),
        id: status.id.to_string(),
        listen: audience
            .map(|audience| audience.listen)
            .or_else(|| claimed_listen(status)),
        registered: status.registered,
        canary: registered.is_some_and(|node| node.canary),
        group: membership.map(|(group, _)| group.clone()),
        identity: membership.map(|(_, identity)| identity.to_string()),
        lease: status.lease.map(sync_state::lease),
        state,
        message,
        types: status.types.iter().map(type_view).collect(),
        acked_ms_ago: acked_ms_ago(status),
        ack_us: status.last_ack().map(micros),
        streams: status.streams,
        peers: status.peers.iter().map(|peer| peer.address).collect(),
        synced_to: status.synced_to.map(Sequence::get),
        nacks: status.nacks,
    }
}

fn type_view(status: &TypeStatus) -> TypeView {
    let (reason, resources) = sync_state::nack(status);
    TypeView {
        service: status.kind.service(),
        state: sync_state::of_type(status),
        reason,
        resources,
        ack_us: status.acknowledged.as_ref().map(|ack| micros(ack.after)),
    }
}

/// Where a node says that it listens.
fn claimed_listen(status: &NodeStatus) -> Option<IpAddr> {
    status
        .about
        .as_ref()?
        .metadata(LISTEN_METADATA)?
        .parse()
        .ok()
}

/// The newest acknowledgement of any type.
fn acked_ms_ago(status: &NodeStatus) -> Option<u64> {
    let newest = status
        .types
        .iter()
        .filter_map(|status| Some(status.acknowledged.as_ref()?.at))
        .max()?;
    Some(u64::try_from(newest.elapsed().as_millis()).unwrap_or(u64::MAX))
}
