//! A node as it travels. Anybody who may connect sends one, and it is read before anything is
//! known of who that is: so what it costs is what is kept of it, however much it holds.

use std::collections::BTreeMap;

use envoy_types::pb::envoy::r#type::v3::SemanticVersion;
use prost::{DecodeError, Message as _};

use super::{NodeDescription, NodeError, NodeId};
use crate::pieces::each;

impl NodeDescription {
    /// Of the node that a request has under `tag`.
    pub(crate) fn read(request: &[u8], tag: u32) -> Result<Self, NodeError> {
        let mut head = NodeHead::default();
        let mut metadata = BTreeMap::new();
        let mut client_features = Vec::new();
        each(request, tag, |node| {
            head.merge(node)?;
            each(node, METADATA, |fields| {
                each(fields, FIELD, |field| keep_text(field, &mut metadata))
            })?;
            each(node, CLIENT_FEATURE, |feature| {
                keep_feature(feature, &mut client_features);
                Ok(())
            })
        })?;
        Ok(Self {
            id: NodeId::said(head.id)?,
            cluster: cut(&head.cluster),
            metadata,
            user_agent: cut(&head.user_agent),
            user_agent_version: head.version.map(version).unwrap_or_default(),
            client_features,
        })
    }
}

const METADATA: u32 = 3;
const CLIENT_FEATURE: u32 = 10;
/// Of a `google.protobuf.Struct`.
const FIELD: u32 = 1;

/// Adds a field of the metadata if it is a text. Of too many the first by name stay.
fn keep_text(field: &[u8], metadata: &mut BTreeMap<String, String>) -> Result<(), DecodeError> {
    let FieldHead { name, value } = FieldHead::decode(field)?;
    let text = value.and_then(|value| value.text);
    if let Some(text) = text
        && name.len() <= NodeDescription::MAX_TEXT
    {
        metadata.insert(name, cut(&text));
        if metadata.len() > NodeDescription::MAX_METADATA {
            metadata.pop_last();
        }
    }
    Ok(())
}

/// What is no text names no feature.
fn keep_feature(feature: &[u8], features: &mut Vec<String>) {
    if features.len() < NodeDescription::MAX_FEATURES
        && let Ok(feature) = str::from_utf8(feature)
    {
        features.push(cut(feature));
    }
}

/// Without the memory of what is cut off.
fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(NodeDescription::MAX_TEXT)].to_owned()
}

fn version(version: VersionHead) -> String {
    match version {
        VersionHead::Text(text) => cut(&text),
        VersionHead::Build(build) => build
            .version
            .map(|v| format!("{}.{}.{}", v.major_number, v.minor_number, v.patch))
            .unwrap_or_default(),
    }
}

/// `envoy.config.core.v3.Node` without what it can have many of.
#[derive(Clone, PartialEq, prost::Message)]
struct NodeHead {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, tag = "2")]
    cluster: String,
    #[prost(string, tag = "6")]
    user_agent: String,
    #[prost(oneof = "VersionHead", tags = "7, 8")]
    version: Option<VersionHead>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum VersionHead {
    #[prost(string, tag = "7")]
    Text(String),
    #[prost(message, tag = "8")]
    Build(BuildHead),
}

/// `envoy.config.core.v3.BuildVersion`. It has metadata, too.
#[derive(Clone, PartialEq, prost::Message)]
struct BuildHead {
    #[prost(message, optional, tag = "1")]
    version: Option<SemanticVersion>,
}

/// A field of a `google.protobuf.Struct`.
#[derive(Clone, PartialEq, prost::Message)]
struct FieldHead {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    value: Option<ValueHead>,
}

/// A `google.protobuf.Value`, if it is a text.
#[derive(Clone, PartialEq, prost::Message)]
struct ValueHead {
    #[prost(string, optional, tag = "3")]
    text: Option<String>,
}

#[cfg(test)]
mod tests;
