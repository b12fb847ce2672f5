use std::{collections::BTreeMap, fmt, sync::Arc};

use async_trait::async_trait;
use envoy_types::pb::{
    envoy::config::core::v3::{Node, node::UserAgentVersionType},
    google::protobuf::value::Kind,
};

use crate::{cache::Group, peer::Peer, resource::ResourceType};

/// What a client calls itself: `node.id`.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct NodeId(Arc<str>);

impl NodeId {
    pub fn new(id: impl Into<Arc<str>>) -> Self {
        Self(id.into())
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

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a client says of itself in the first request of a stream. Nothing of it is proven.
#[derive(Clone, Debug)]
pub struct NodeDescription {
    pub id: NodeId,
    pub cluster: String,
    /// The top-level fields of `node.metadata` that are strings, the first
    /// [`NodeDescription::MAX_METADATA`] by name.
    pub metadata: BTreeMap<String, String>,
    /// Such as `envoy`.
    pub user_agent: String,
    /// Such as `1.40.0`; empty if not given.
    pub user_agent_version: String,
    pub client_features: Vec<String>,
}

impl NodeDescription {
    pub const MAX_METADATA: usize = 64;
    /// In bytes. Ids are kept, logged and shown.
    pub const MAX_ID: usize = 256;

    pub(crate) fn read(node: Node) -> Result<Self, NodeError> {
        if node.id.is_empty() {
            return Err(NodeError::NoId);
        }
        if node.id.len() > Self::MAX_ID {
            return Err(NodeError::LongId {
                bytes: node.id.len(),
            });
        }
        let metadata: BTreeMap<_, _> = node
            .metadata
            .into_iter()
            .flat_map(|metadata| metadata.fields)
            .filter_map(|(name, value)| Some((name, text(value.kind?)?)))
            .collect();
        Ok(Self {
            id: NodeId::new(node.id),
            cluster: node.cluster,
            metadata: metadata.into_iter().take(Self::MAX_METADATA).collect(),
            user_agent: node.user_agent_name,
            user_agent_version: node
                .user_agent_version_type
                .map(version)
                .unwrap_or_default(),
            client_features: node.client_features,
        })
    }
}

fn text(kind: Kind) -> Option<String> {
    match kind {
        Kind::StringValue(text) => Some(text),
        Kind::NullValue(_)
        | Kind::NumberValue(_)
        | Kind::BoolValue(_)
        | Kind::StructValue(_)
        | Kind::ListValue(_) => None,
    }
}

fn version(version: UserAgentVersionType) -> String {
    match version {
        UserAgentVersionType::UserAgentVersion(text) => text,
        UserAgentVersionType::UserAgentBuildVersion(build) => build
            .version
            .map(|v| format!("{}.{}.{}", v.major_number, v.minor_number, v.patch))
            .unwrap_or_default(),
    }
}

/// Why a `node` cannot be served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NodeError {
    #[error("the first request of a stream must carry a node with an id")]
    NoId,
    #[error(
        "node.id has {bytes} bytes; at most {} are allowed",
        NodeDescription::MAX_ID
    )]
    LongId { bytes: usize },
}

/// Who may be served, and as part of which group.
#[async_trait]
pub trait NodeDirectory: fmt::Debug + Send + Sync + 'static {
    /// Called with the first request of a stream, on `peer`'s connection. It may publish the
    /// group's snapshot before it returns; while the group has none the stream stays open and
    /// silent. A deadline ([`crate::Limits::admission`]) may drop the call at any await.
    ///
    /// # Errors
    /// [`Refusal`] ends the stream with PERMISSION_DENIED.
    async fn admit(&self, node: &NodeDescription, peer: &Peer) -> Result<Group, Refusal>;

    /// Whether telemetry that comes on `peer`'s connection may count as `node`'s.
    ///
    /// # Errors
    /// [`Refusal`] ends the stream with PERMISSION_DENIED.
    fn may_report(&self, _node: &NodeId, _peer: &Peer) -> Result<(), Refusal> {
        Ok(())
    }

    /// An admitted node asked by name for something that its group does not have. The client
    /// is answered the same whatever is done here: that it does not exist. Must not block.
    fn asked_in_vain(&self, _node: &NodeId, _kind: ResourceType, _name: &str) {}
}

/// Serves every node, as part of this group.
#[derive(Clone, Debug)]
pub struct OneGroup(pub Group);

#[async_trait]
impl NodeDirectory for OneGroup {
    async fn admit(&self, _node: &NodeDescription, _peer: &Peer) -> Result<Group, Refusal> {
        Ok(self.0.clone())
    }
}

/// Why a node is not served; the client gets these words.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(pub String);
