//! What the fleet says of its nodes.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::time::Instant;

use crate::{
    group::Group,
    node::{NodeDescription, NodeId},
    peer::Peer,
    resource::ResourceType,
    sequence::Sequence,
    stream::{Acknowledged, Nack, Sent, TypeStatus},
};

/// One node, as the server sees it.
#[derive(Clone, Debug)]
pub struct NodeStatus {
    pub id: NodeId,
    pub registered: bool,
    /// Since when it is no longer registered, if it once was.
    pub retired: Option<Instant>,
    /// Open streams. More than one: it is reconnecting, or two clients use one id.
    pub streams: usize,
    /// The other ends of the open streams, the newest last; of the last one, if none is open.
    pub peers: Vec<Peer>,
    /// When its last stream ended, if none is open now.
    pub gone: Option<Instant>,
    /// Of the newest stream; the following fields are `None` or empty without one.
    pub group: Option<Group>,
    pub about: Option<Arc<About>>,
    pub connected_since: Option<Instant>,
    /// By type, those that it subscribes to, in the order of [`ResourceType::ALL`].
    pub types: Vec<TypeStatus>,
    /// The newest snapshot that all its streams have acknowledged in full.
    pub synced_to: Option<Sequence>,
    /// Whether that has the content of its group's newest snapshot.
    pub synced: bool,
    /// How many responses it has refused since it is known.
    pub nacks: u64,
}

impl NodeStatus {
    #[must_use]
    pub fn connected(&self) -> bool {
        self.streams > 0
    }

    /// Whether streams of this one id come from more than one IP address: two clients that
    /// share a name, unless one has just moved.
    #[must_use]
    pub fn is_cloned(&self) -> bool {
        self.peers
            .windows(2)
            .any(|pair| pair[0].address.ip() != pair[1].address.ip())
    }

    /// From sending to the ACK, of the newest response that it acknowledged.
    #[must_use]
    pub fn last_ack(&self) -> Option<Duration> {
        self.types
            .iter()
            .filter_map(|status| status.acknowledged.as_ref())
            .max_by_key(|acknowledged| acknowledged.at)
            .map(|acknowledged| acknowledged.after)
    }
}

/// Everything that is on record about one node, over its reconnects.
#[derive(Clone, Debug)]
pub struct NodeRecord {
    pub status: NodeStatus,
    /// By type, in the order of [`ResourceType::ALL`].
    pub deliveries: Vec<Delivery>,
    /// The last [`NodeRecord::MAX_NACKS`], the newest last.
    pub nacks: Vec<Arc<Nack>>,
}

impl NodeRecord {
    pub const MAX_NACKS: usize = 8;
}

/// What was last sent to a node of one type, and what became of it.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub kind: ResourceType,
    pub sent: Option<Sent>,
    pub acknowledged: Option<Acknowledged>,
    pub nacked: Option<Arc<Nack>>,
}

/// What clients say of themselves and many of them say alike; those share it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct About {
    pub cluster: Arc<str>,
    /// Such as `envoy`.
    pub user_agent: Arc<str>,
    /// Such as `1.40.0`; empty if not given.
    pub user_agent_version: Arc<str>,
    metadata: Box<[(Box<str>, Box<str>)]>,
}

impl About {
    /// What the node's metadata has under `name`, if that is a string.
    #[must_use]
    pub fn metadata(&self, name: &str) -> Option<&str> {
        let at = self.metadata.binary_search_by(|(own, _)| (**own).cmp(name));
        Some(&self.metadata[at.ok()?].1)
    }

    /// Takes from `description` what is shown of it, and shares with `other` what is equal.
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

/// The time of day at `at`, for people; it moves when the machine's clock is set.
#[must_use]
pub fn time_of_day(at: Instant) -> SystemTime {
    let now = SystemTime::now();
    now.checked_sub(at.elapsed()).unwrap_or(now)
}
