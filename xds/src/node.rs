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
            .filter(|(name, _)| name.len() <= Self::MAX_TEXT)
            .filter_map(|(name, value)| Some((name, text(value.kind?)?)))
            .collect();
        let metadata = metadata.into_iter().take(Self::MAX_METADATA);
        let features = node.client_features.into_iter().take(Self::MAX_FEATURES);
        Ok(Self {
            id: NodeId::new(node.id),
            cluster: cut(node.cluster),
            metadata: metadata.map(|(name, value)| (name, cut(value))).collect(),
            user_agent: cut(node.user_agent_name),
            user_agent_version: node
                .user_agent_version_type
                .map(|said| cut(version(said)))
                .unwrap_or_default(),
            client_features: features.map(cut).collect(),
        })
    }
}

/// Without the memory of what is cut off.
fn cut(text: String) -> String {
    if text.len() <= NodeDescription::MAX_TEXT {
        return text;
    }
    let end = text.floor_char_boundary(NodeDescription::MAX_TEXT);
    text[..end].to_owned()
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
    /// is answered the same whatever is done here: that it does not exist. Must not block. A
    /// name can be as long as a request.
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

#[cfg(test)]
mod tests {
    use envoy_types::pb::google::protobuf::{Struct, Value};

    use super::*;

    #[test]
    fn what_a_node_says_of_itself_is_cut_to_what_can_be_kept() {
        // Two bytes each: the cut would be in the middle of one.
        let long = format!("x{}", "ä".repeat(1 << 12));
        let value = || Value {
            kind: Some(Kind::StringValue(long.clone())),
        };
        let fields = [("short".to_owned(), value()), (long.clone(), value())];
        let node = Node {
            id: "n".to_owned(),
            cluster: long.clone(),
            metadata: Some(Struct {
                fields: fields.into(),
            }),
            user_agent_name: long.clone(),
            user_agent_version_type: Some(UserAgentVersionType::UserAgentVersion(long.clone())),
            client_features: vec![long.clone(); 1000],
            ..Node::default()
        };
        let node = NodeDescription::read(node).unwrap();
        assert!(node.metadata.len() == 1 && node.metadata.contains_key("short"));
        assert_eq!(node.client_features.len(), NodeDescription::MAX_FEATURES);
        let texts = [&node.cluster, &node.user_agent, &node.user_agent_version];
        let texts = texts.into_iter().chain(node.metadata.values());
        for text in texts.chain(&node.client_features) {
            assert!(*text == long[..NodeDescription::MAX_TEXT - 1]);
            assert!(text.capacity() <= NodeDescription::MAX_TEXT);
        }
    }
}
