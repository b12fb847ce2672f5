//! The fleet, a row per sidecar.

mod judge;

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    sync::PoisonError,
};

use pointsman_catalog::{DatabaseName, NodeId};
use pointsman_envoy_config::LISTEN_METADATA;
use pointsman_xds::{NodeRecord, NodeStatus, ResourceType, Sequence, TypeStatus};

use super::{Known, Publisher, audience::Audience};

/// One sidecar, as operators see it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct NodeView {
    pub(crate) id: String,
    pub(crate) listen: Option<IpAddr>,
    pub(crate) registered: bool,
    pub(crate) canary: bool,
    /// Those that exist for it; `None` is all.
    pub(crate) databases: Option<BTreeSet<DatabaseName>>,
    pub(crate) state: State,
    /// Why the state is not [`State::Synced`], and what is odd besides.
    pub(crate) words: String,
    pub(crate) types: Vec<TypeView>,
    pub(crate) acked_ms_ago: Option<u64>,
    /// From sending to the newest acknowledgement.
    pub(crate) ack_us: Option<u64>,
    pub(crate) streams: usize,
    /// Of the open streams, the newest last; of the last one if none is open.
    pub(crate) peers: Vec<SocketAddr>,
    pub(crate) synced_to: Option<u64>,
    pub(crate) refusals: u64,
}

/// One type that a sidecar subscribes to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct TypeView {
    pub(crate) service: &'static str,
    pub(crate) state: State,
    /// Of a refusal.
    pub(crate) words: String,
    pub(crate) resources: Vec<String>,
    pub(crate) ack_us: Option<u64>,
}

/// The worst that is to be said of a sidecar.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum State {
    Synced,
    /// Sent and not acknowledged yet.
    Stale,
    /// Sent, and not answered for a time in which every healthy sidecar answers.
    Lagging,
    /// It refused what it was sent.
    Nacked,
    /// There is something that it was not sent yet.
    NotSent,
    /// Registered and not connected.
    Absent,
    /// Connected, and nobody registered it.
    Unregistered,
}

impl State {
    /// As `fleet status` prints it.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Synced => "SYNCED",
            Self::Stale => "STALE",
            Self::Lagging => "LAGGING",
            Self::Nacked => "NACKED",
            Self::NotSent => "NOT SENT",
            Self::Absent => "ABSENT",
            Self::Unregistered => "UNREGISTERED",
        }
    }
}

impl Publisher {
    /// A row per sidecar, registered or connected.
    pub(crate) fn nodes(&self) -> Vec<NodeView> {
        let status = self.fleet.status();
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        status.iter().map(|status| view(status, &known)).collect()
    }

    /// A row with what is on record behind it; also of a sidecar that went.
    pub(crate) fn node(&self, id: &NodeId) -> Option<(NodeView, NodeRecord)> {
        let record = self.fleet.record(&id.as_str().into())?;
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        Some((view(&record.status, &known), record))
    }

    /// Connected nodes that nobody registered.
    pub(super) fn unregistered(&self) -> Vec<NodeId> {
        self.fleet
            .status()
            .into_iter()
            .filter(|status| status.connected() && !status.registered)
            .filter_map(|status| NodeId::new(status.id.as_str()).ok())
            .collect()
    }
}

fn view(status: &NodeStatus, known: &Known) -> NodeView {
    let id = NodeId::new(status.id.as_str()).ok();
    let registered = id.as_ref().and_then(|id| known.registered.get(id));
    let (state, words) = judge::node(status, registered);
    NodeView {
        databases: registered.and_then(Audience::databases).cloned(),
        id: status.id.to_string(),
        listen: registered
            .map(|audience| audience.listen)
            .or_else(|| said(status)),
        registered: status.registered,
        canary: id.is_some_and(|id| known.canaries.contains(&id)),
        state,
        words,
        types: status.types.iter().map(type_view).collect(),
        acked_ms_ago: acked_ms_ago(status),
        ack_us: status.last_ack().map(micros),
        streams: status.streams,
        peers: status.peers.iter().map(|peer| peer.address).collect(),
        synced_to: status.synced_to.map(Sequence::get),
        refusals: status.nacks,
    }
}

fn type_view(status: &TypeStatus) -> TypeView {
    let (words, resources) = judge::refusal(status);
    TypeView {
        service: service(status.kind),
        state: judge::of_type(status),
        words,
        resources,
        ack_us: status.acknowledged.as_ref().map(|ack| micros(ack.after)),
    }
}

/// Where a node says that it listens.
fn said(status: &NodeStatus) -> Option<IpAddr> {
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

/// The discovery service of a type, as Envoy's users call it.
pub(crate) const fn service(kind: ResourceType) -> &'static str {
    match kind {
        ResourceType::Cluster => "CDS",
        ResourceType::Endpoints => "EDS",
        ResourceType::Extension => "ECDS",
        ResourceType::Listener => "LDS",
        ResourceType::ScopedRoute => "SRDS",
        ResourceType::Route => "RDS",
        ResourceType::VirtualHost => "VHDS",
        ResourceType::Secret => "SDS",
        ResourceType::Runtime => "RTDS",
    }
}

pub(crate) fn micros(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
