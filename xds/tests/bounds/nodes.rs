use std::sync::Arc;

use pointsman_xds::{NoTelemetry, ResourceType};
use prost::encoding;

use crate::{
    ALONE,
    control_plane::TestControlPlane,
    peak,
    wire::{DATA, Wire},
};

/// A first request with its node as it travels.
#[derive(Clone, PartialEq, prost::Message)]
struct Request {
    #[prost(bytes = "vec", tag = "1")]
    node: Vec<u8>,
    #[prost(string, tag = "2")]
    type_url: String,
}

fn message(tag: u32, content: Vec<u8>) -> Vec<u8> {
    let mut encoded = Vec::new();
    encoding::bytes::encode(tag, &content, &mut encoded);
    encoded
}

/// As many messages or texts without content as fit, all under one tag.
fn empty(tag: u8) -> Vec<u8> {
    [tag << 3 | 2, 0].repeat(SIZE / 2)
}

/// A `google.protobuf.Struct` of one field, which is a long list.
fn list() -> Vec<u8> {
    message(1, message(2, message(6, empty(1))))
}

#[tokio::test]
async fn a_node_costs_a_small_multiple_of_its_bytes() {
    let _alone = ALONE.lock().await;
    let server = TestControlPlane::open(Arc::new(NoTelemetry)).await;
    server.publish_writer(0);
    let mut wire = Wire::greet(&server).await;
    let metadata = message(3, list());
    let build = message(8, message(2, list()));
    let hostile = [metadata, build, empty(9), empty(10)];
    let before = peak();
    for (mut node, stream) in hostile.into_iter().zip((1..).step_by(2)) {
        encoding::string::encode(1, &"sidecar".to_owned(), &mut node);
        wire.open(stream).await;
        let request = Request {
            node,
            type_url: ResourceType::Endpoints.type_url().to_owned(),
        };
        wire.long_message(stream, &request).await;
        wire.read_kind(DATA).await.unwrap();
    }
    let grown = peak().saturating_sub(before);
    assert!(grown < 8 * SIZE, "{grown} bytes");
}

/// Of one node, in bytes: nearly all that a request may have.
const SIZE: usize = 4_000_000;
