mod encoded;

use std::{collections::BTreeMap, fmt, sync::Arc};

use async_trait::async_trait;
use prost::DecodeError;

use crate::{group::Group, peer::Peer, resource::ResourceType};

/// What a client calls itself: `node.id`.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct NodeId(Arc<str>);

impl NodeId {
    pub fn new(id: impl Into<Arc<str>>) -> Self {
        Self(id.into())
    }

    /// One that a client has said.
    pub(crate) fn said(id: String) -> Result<Self, NodeError> {
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

/// What a client says of itself in the first request of a stream. Nothing of it is proven, and
/// of each text but the id no more than the first [`NodeDescription::MAX_TEXT`] bytes are kept.
#[derive(Clone, Debug)]
pub struct NodeDescription {
    pub id: NodeId,
    pub cluster: String,
    /// The top-level fields of `node.metadata` that are strings, the first
    /// [`NodeDescription::MAX_METADATA`] by name; those with longer names than
    /// [`NodeDescription::MAX_TEXT`] are left out.
    pub metadata: BTreeMap<String, String>,
    /// Such as `envoy`.
    pub user_agent: String,
    /// Such as `1.40.0`; empty if not given.
    pub user_agent_version: String,
    /// The first [`NodeDescription::MAX_FEATURES`].
    pub client_features: Vec<String>,
}

impl NodeDescription {
    pub const MAX_METADATA: usize = 64;
    pub const MAX_FEATURES: usize = 64;
    /// In bytes. Ids are kept, logged and shown; a longer one is refused.
    pub const MAX_ID: usize = 256;
    /// In bytes, of every other text. A longer one is cut.
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

/// Who may be served, and as part of which group.
#[async_trait]
pub trait NodeDirectory: fmt::Debug + Send + Sync + 'static {
    /// Called with the first request of a stream, on `peer`'s connection. It may publish the
    /// group's snapshot before it returns; while the group has none the stream stays open and
    /// silent. A deadline ([`crate::Limits::admission`]) may drop the call at any await.
    ///
    /// # Errors
    /// [`PermissionDenied`] ends the stream with PERMISSION_DENIED.
    async fn admit(&self, node: &NodeDescription, peer: &Peer) -> Result<Group, PermissionDenied>;

    /// Whether telemetry that comes on `peer`'s connection may count as `node`'s.
    ///
    /// # Errors
    /// [`PermissionDenied`] ends the stream with PERMISSION_DENIED.
    fn may_report(&self, _node: &NodeId, _peer: &Peer) -> Result<(), PermissionDenied> {
        Ok(())
    }

    /// An admitted node asked by name for something that its group does not have. The client
    /// is answered the same whatever is done here: that it does not exist. Must not block. A
    /// name can be as long as a request.
    fn on_missing_resource(&self, _node: &NodeId, _kind: ResourceType, _name: &str) {}
}

/// Serves every node, as part of this group.
#[derive(Clone, Debug)]
pub struct OneGroup(pub Group);

#[async_trait]
impl NodeDirectory for OneGroup {
    async fn admit(
        &self,
        _node: &NodeDescription,
        _peer: &Peer,
    ) -> Result<Group, PermissionDenied> {
        Ok(self.0.clone())
    }
}

/// Why a node is not served; the client gets these words.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct PermissionDenied(pub String);
