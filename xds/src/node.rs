mod encoded;

use std::{collections::BTreeMap, fmt, sync::Arc};

use async_trait::async_trait;
use prost::DecodeError;

use crate::{group::Group, lease::Lease, peer::Peer, refusal::Refusal, resource::ResourceType};

/// What a client calls itself: `node.id`.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct NodeId(Arc<str>);

impl NodeId {
    pub fn new(id: impl Into<Arc<str>>) -> Self {
        Self(id.into())
    }

    /// Checks an id that a client has sent.
    pub(crate) fn from_client(id: String) -> Result<Self, NodeError> {
        if id.is_empty() {
            return Err(NodeError::NoId);
        }
        if id.len() > NodeDescription::MAX_ID {
            return Err(NodeError::LongId { bytes: id.len() });
        }
        Ok(Self::new(id))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for NodeId {
    fn from(id: &str) -> Self {
        Self::new(id)
    }
}

impl From<String> for NodeId {
    fn from(id: String) -> Self {
        Self::new(id)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a client says about itself in the first request of a stream. Nothing of it is proven. Each
/// text except the id is cut to [`NodeDescription::MAX_TEXT`] bytes.
#[derive(Clone, Debug)]
pub struct NodeDescription {
    pub id: NodeId,
    pub cluster: String,
    /// The top-level string fields of `node.metadata`: the first
    /// [`NodeDescription::MAX_METADATA`] by name. Fields with names longer than
    /// [`NodeDescription::MAX_TEXT`] bytes are left out.
    pub metadata: BTreeMap<String, String>,
    /// For example `envoy`.
    pub user_agent: String,
    /// For example `1.40.0`; empty if not given.
    pub user_agent_version: String,
    /// The first [`NodeDescription::MAX_FEATURES`].
    pub client_features: Vec<String>,
}

impl NodeDescription {
    pub const MAX_METADATA: usize = 64;
    pub const MAX_FEATURES: usize = 64;
    /// The maximal length of an id in bytes. A longer one is refused: ids are stored, logged and
    /// displayed.
    pub const MAX_ID: usize = 256;
    /// The maximal length of each other text in bytes. A longer one is cut.
    pub const MAX_TEXT: usize = 256;
}

/// Why a `node` cannot be served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NodeError {
    #[error(transparent)]
    Unreadable(#[from] DecodeError),
    #[error("the first request of a stream must carry a node with an id")]
    NoId,
    #[error(
        "node.id has {bytes} bytes; at most {} are allowed",
        NodeDescription::MAX_ID
    )]
    LongId { bytes: usize },
}

/// Decides which clients are served, and to which group each belongs.
#[async_trait]
pub trait NodeDirectory: fmt::Debug + Send + Sync + 'static {
    /// Admits the node of a new stream on `peer`'s connection. The implementation may publish the
    /// group's snapshot before it returns. As long as the group has no snapshot, the stream stays
    /// open and nothing is sent. The call is dropped at an await after
    /// [`crate::Limits::admission`].
    ///
    /// # Errors
    /// A [`Refusal`] ends the stream with its status.
    async fn admit(&self, node: &NodeDescription, peer: &Peer) -> Result<Admission, Refusal>;

    /// The node whose telemetry `peer` sends, as it says, under the name `claimed`. It must be the id
    /// of the node's [`Admission`].
    ///
    /// # Errors
    /// A [`Refusal`] ends the stream with its status.
    fn reporter(&self, claimed: &NodeId, _peer: &Peer) -> Result<NodeId, Refusal> {
        Ok(claimed.clone())
    }

    /// Called when an admitted node subscribes to a name that its group does not have. The client is
    /// told in any case that the resource does not exist. The call must not block. A name can be as
    /// long as a request.
    fn on_missing_resource(&self, _node: &NodeId, _kind: ResourceType, _name: &str) {}
}

/// How a node is served.
#[derive(Clone, Debug)]
pub struct Admission {
    /// The id under which the fleet counts and reports the node. A directory that does not believe
    /// what clients call themselves makes it from the peer's identity.
    pub node: NodeId,
    pub group: Group,
    /// Makes barriers await a node that nobody registered.
    pub lease: Option<Lease>,
    /// Serves the client as an observer: it is sent what the node is sent, and stands for it nowhere. No
    /// barrier and no status counts it, it has no lease, and its answers say nothing about the node.
    /// [`crate::Fleet::observers`] lists it.
    pub observer: bool,
}

impl Admission {
    /// Serves the node under the name that it has given.
    #[must_use]
    pub fn as_claimed(node: &NodeDescription, group: Group) -> Self {
        Self {
            node: node.id.clone(),
            group,
            lease: None,
            observer: false,
        }
    }
}

/// Admits every node to one group.
#[derive(Clone, Debug)]
pub struct OneGroup(pub Group);

#[async_trait]
impl NodeDirectory for OneGroup {
    async fn admit(&self, node: &NodeDescription, _peer: &Peer) -> Result<Admission, Refusal> {
        Ok(Admission::as_claimed(node, self.0.clone()))
    }
}
