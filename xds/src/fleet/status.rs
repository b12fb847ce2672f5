//! The status of nodes, as the fleet reports it.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::time::Instant;

use crate::{
    group::Group,
    lease::LeaseStatus,
    node::{NodeDescription, NodeId},
    peer::Peer,
    resource::ResourceType,
    sequence::Sequence,
    stream::{Acknowledged, Nack, Sent, TypeStatus},
};

/// The status of one node.
#[derive(Clone, Debug)]
pub struct NodeStatus {
    pub id: NodeId,
    pub registered: bool,
    /// When it was unregistered, if it was registered before.
    pub retired: Option<Instant>,
    /// Of a node that is awaited without being registered.
    pub lease: Option<LeaseStatus>,
    /// Number of open streams. If there are several, the node is reconnecting, or two clients use one
    /// id.
    pub streams: usize,
    /// The peers of the open streams, the newest last. If no stream is open, the peer of the last one.
    pub peers: Vec<Peer>,
    /// When its last stream ended, if none is open now.
    pub gone: Option<Instant>,
    /// Group of the newest open stream. This and the following fields are `None` or empty if no stream
    /// is open.
    pub group: Option<Group>,
    pub about: Option<Arc<About>>,
    pub connected_since: Option<Instant>,
    /// The types that it subscribes to, in the order of [`ResourceType::ALL`].
    pub types: Vec<TypeStatus>,
    /// The newest sequence to which all its streams are synced.
    pub synced_to: Option<Sequence>,
    /// Whether it has the content of its group's newest snapshot.
    pub synced: bool,
    /// How many responses it has NACKed since its record began.
    pub nacks: u64,
}

impl NodeStatus {
    #[must_use]
    pub fn connected(&self) -> bool {
        self.streams > 0
    }

    /// Whether barriers that begin now wait for it.
    #[must_use]
    pub fn is_awaited(&self) -> bool {
        self.registered || self.lease.is_some()
    }

    /// Whether the open streams come from more than one IP address. Two clients then share the id,
    /// unless one has just moved.
    #[must_use]
    pub fn is_cloned(&self) -> bool {
        self.peers
            .windows(2)
            .any(|pair| pair[0].address.ip() != pair[1].address.ip())
    }

    /// The time from sending to the ACK of the last acknowledged response.
    #[must_use]
    pub fn last_ack(&self) -> Option<Duration> {
        self.types
            .iter()
            .filter_map(|status| status.acknowledged.as_ref())
            .max_by_key(|acknowledged| acknowledged.at)
            .map(|acknowledged| acknowledged.after)
    }
}

/// Everything that is recorded about one node, over its reconnects.
#[derive(Clone, Debug)]
pub struct NodeRecord {
    pub status: NodeStatus,
    /// By type, in the order of [`ResourceType::ALL`].
    pub deliveries: Vec<Delivery>,
    /// The last [`NodeRecord::MAX_NACKS`] NACKs, the newest last.
    pub nacks: Vec<Arc<Nack>>,
}

impl NodeRecord {
    pub const MAX_NACKS: usize = 8;
}

/// The last response, ACK and NACK of one type.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub kind: ResourceType,
    pub sent: Option<Sent>,
    pub acknowledged: Option<Acknowledged>,
    pub nacked: Option<Arc<Nack>>,
}

/// A client's description of itself. Clients with equal descriptions share one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct About {
    pub cluster: Arc<str>,
    /// For example `envoy`.
    pub user_agent: Arc<str>,
    /// For example `1.40.0`; empty if not given.
    pub user_agent_version: Arc<str>,
    metadata: Box<[(Box<str>, Box<str>)]>,
}

impl About {
    /// The metadata field `name`, if it is a string.
    #[must_use]
    pub fn metadata(&self, name: &str) -> Option<&str> {
        let at = self.metadata.binary_search_by(|(own, _)| (**own).cmp(name));
        Some(&self.metadata[at.ok()?].1)
    }

    /// Takes the reported fields of `description`, and shares those that are equal to `other`'s.
    pub(super) fn of(description: NodeDescription, other: Option<&Arc<Self>>) -> Arc<Self> {
        let share = |text: String, other: Option<&Arc<str>>| match other {
            Some(other) if **other == *text => Arc::clone(other),
            Some(_) | None => text.into(),
        };
        let metadata: BTreeMap<_, _> = description.metadata;
        let about = Self {
            cluster: share(description.cluster, other.map(|other| &other.cluster)),
            user_agent: share(description.user_agent, other.map(|o| &o.user_agent)),
            user_agent_version: share(
                description.user_agent_version,
                other.map(|other| &other.user_agent_version),
            ),
            metadata: metadata
                .into_iter()
                .map(|(name, value)| (name.into_boxed_str(), value.into_boxed_str()))
                .collect(),
        };
        match other {
            Some(other) if **other == about => Arc::clone(other),
            Some(_) | None => Arc::new(about),
        }
    }
}

/// The wall-clock time at `at`, for display. It changes if the machine's clock is set.
#[must_use]
pub fn time_of_day(at: Instant) -> SystemTime {
    let now = SystemTime::now();
    now.checked_sub(at.elapsed()).unwrap_or(now)
}
