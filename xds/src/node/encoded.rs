//! Reads the `node` of a request. It is read before the client is admitted, so the memory that it
//! takes is bounded by what is kept of it.

use std::collections::BTreeMap;

use envoy_types::pb::envoy::r#type::v3::SemanticVersion;
use prost::{DecodeError, Message as _};

use super::{NodeDescription, NodeError, NodeId};
use crate::encoded_fields::for_each_field;

impl NodeDescription {
    /// Reads the node of an encoded request; `tag` is the number of its field.
    pub(crate) fn read(request: &[u8], tag: u32) -> Result<Self, NodeError> {
        let mut head = NodeHead::default();
        let mut metadata = BTreeMap::new();
        let mut client_features = Vec::new();
        for_each_field(request, tag, |node| {
            head.merge(node)?;
            for_each_field(node, METADATA, |fields| {
                for_each_field(fields, FIELD, |field| add_metadata(field, &mut metadata))
            })?;
            for_each_field(node, CLIENT_FEATURE, |feature| {
                add_feature(feature, &mut client_features);
                Ok(())
            })
        })?;
        Ok(Self {
            id: NodeId::from_client(head.id)?,
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
/// The field `fields` of `google.protobuf.Struct`.
const FIELD: u32 = 1;

/// Adds a metadata field if it is a string. Of too many fields the first by name are kept.
fn add_metadata(field: &[u8], metadata: &mut BTreeMap<String, String>) -> Result<(), DecodeError> {
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

/// Adds a client feature. Bytes that are not UTF-8 are left out.
fn add_feature(feature: &[u8], features: &mut Vec<String>) {
    if features.len() < NodeDescription::MAX_FEATURES
        && let Ok(feature) = str::from_utf8(feature)
    {
        features.push(cut(feature));
    }
}

/// Cuts a text to its bound. The result does not keep the memory of the rest.
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

/// `envoy.config.core.v3.Node` without its repeated fields.
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

/// `envoy.config.core.v3.BuildVersion` without its metadata.
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

/// The string value of a `google.protobuf.Value`.
#[derive(Clone, PartialEq, prost::Message)]
struct ValueHead {
    #[prost(string, optional, tag = "3")]
    text: Option<String>,
}

#[cfg(test)]
mod tests;
