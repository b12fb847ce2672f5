use std::collections::HashMap;

use envoy_types::pb::{
    envoy::{
        config::core::v3::{BuildVersion, Extension, Node, node::UserAgentVersionType},
        service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest},
    },
    google::protobuf::{ListValue, Struct, Value, value::Kind},
};

use super::*;

fn read(node: Node) -> Result<NodeDescription, NodeError> {
    let request = DeltaDiscoveryRequest {
        node: Some(node),
        ..DeltaDiscoveryRequest::default()
    };
    NodeDescription::read(&request.encode_to_vec(), 1)
}

fn text(text: &str) -> Value {
    value(Kind::StringValue(text.to_owned()))
}

fn value(kind: Kind) -> Value {
    Value { kind: Some(kind) }
}

/// With a value of every kind, and a text for each name.
fn metadata(texts: &[(&str, &str)]) -> Struct {
    let inner: HashMap<_, _> = [("inner".to_owned(), text("x"))].into();
    let values = vec![text("x"), Value::default()];
    let others = [
        ("null", value(Kind::NullValue(0))),
        ("number", value(Kind::NumberValue(1.0))),
        ("bool", value(Kind::BoolValue(true))),
        ("struct", value(Kind::StructValue(Struct { fields: inner }))),
        ("list", value(Kind::ListValue(ListValue { values }))),
        ("nothing", Value::default()),
    ];
    let texts = texts.iter().map(|(name, own)| (*name, text(own)));
    let fields = texts.chain(others);
    Struct {
        fields: fields
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
    }
}

/// What Envoy sends, in small.
fn envoy() -> Node {
    let build = BuildVersion {
        version: Some(SemanticVersion {
            major_number: 1,
            minor_number: 40,
            patch: 2,
        }),
        metadata: Some(metadata(&[("ssl.version", "BoringSSL")])),
    };
    Node {
        id: "sidecar".to_owned(),
        cluster: "local".to_owned(),
        metadata: Some(metadata(&[("listen", "192.0.2.1"), ("empty", "")])),
        user_agent_name: "envoy".to_owned(),
        user_agent_version_type: Some(UserAgentVersionType::UserAgentBuildVersion(build)),
        extensions: vec![Extension::default(); 100],
        client_features: vec!["a".to_owned(), "b".to_owned()],
        ..Node::default()
    }
}

#[test]
fn what_is_kept_of_a_node_is_found_in_either_form() {
    let delta = DeltaDiscoveryRequest {
        node: Some(envoy()),
        type_url: "type".to_owned(),
        ..DeltaDiscoveryRequest::default()
    };
    let sotw = DiscoveryRequest {
        node: Some(envoy()),
        type_url: "type".to_owned(),
        ..DiscoveryRequest::default()
    };
    for (request, tag) in [(delta.encode_to_vec(), 1), (sotw.encode_to_vec(), 2)] {
        let node = NodeDescription::read(&request, tag).unwrap();
        assert_eq!(node.id.as_str(), "sidecar");
        assert_eq!(node.cluster, "local");
        let texts = [("listen", "192.0.2.1"), ("empty", "")];
        let texts = texts.map(|(name, text)| (name.to_owned(), text.to_owned()));
        assert_eq!(node.metadata, texts.into());
        assert_eq!(node.user_agent, "envoy");
        assert_eq!(node.user_agent_version, "1.40.2");
        assert_eq!(node.client_features, ["a", "b"]);
    }
}

#[test]
fn a_node_needs_an_id_that_can_be_kept() {
    assert!(matches!(read(Node::default()), Err(NodeError::NoId)));
    let id = "n".repeat(NodeDescription::MAX_ID + 1);
    let node = Node {
        id,
        ..Node::default()
    };
    assert!(matches!(read(node), Err(NodeError::LongId { bytes: 257 })));
    assert!(matches!(
        NodeDescription::read(&[0x0a, 2, 0x0a, 7], 1),
        Err(NodeError::Unreadable(_))
    ));
}

#[test]
fn what_a_node_says_of_itself_is_cut_to_what_can_be_kept() {
    // Two bytes each: the cut would be in the middle of one.
    let long = format!("x{}", "ä".repeat(1 << 12));
    let node = Node {
        id: "n".to_owned(),
        cluster: long.clone(),
        metadata: Some(metadata(&[("short", &long), (&long, &long)])),
        user_agent_name: long.clone(),
        user_agent_version_type: Some(UserAgentVersionType::UserAgentVersion(long.clone())),
        client_features: vec![long.clone(); 1000],
        ..Node::default()
    };
    let node = read(node).unwrap();
    assert!(node.metadata.len() == 1 && node.metadata.contains_key("short"));
    assert_eq!(node.client_features.len(), NodeDescription::MAX_FEATURES);
    let texts = [&node.cluster, &node.user_agent, &node.user_agent_version];
    let texts = texts.into_iter().chain(node.metadata.values());
    for text in texts.chain(&node.client_features) {
        assert!(*text == long[..NodeDescription::MAX_TEXT - 1]);
        assert!(text.capacity() <= NodeDescription::MAX_TEXT);
    }
}

#[test]
fn of_many_fields_of_the_metadata_the_first_by_name_are_kept() {
    let names: Vec<_> = (0..100).map(|number| format!("{number:03}")).collect();
    let texts: Vec<_> = names.iter().map(|name| (&**name, "x")).collect();
    let node = Node {
        metadata: Some(metadata(&texts)),
        ..envoy()
    };
    let kept = read(node).unwrap().metadata.into_keys();
    assert!(kept.eq(names.into_iter().take(NodeDescription::MAX_METADATA)));
}
