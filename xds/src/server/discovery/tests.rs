use std::future::pending;

use async_trait::async_trait;
use bytes::BytesMut;
use envoy_types::pb::envoy::{
    config::core::v3::Node, service::discovery::v3::DeltaDiscoveryRequest,
};
use prost::bytes::BufMut as _;
use tokio::sync::Semaphore;

use super::*;
use crate::{
    cache::SnapshotCache,
    fleet::Fleet,
    node::{Admission, NodeDirectory},
    refusal::Refusal,
    server::{Limits, wire::Delta},
};

/// Never comes to a decision.
#[derive(Debug)]
struct Undecided;

#[async_trait]
impl NodeDirectory for Undecided {
    async fn admit(&self, _node: &NodeDescription, _peer: &Peer) -> Result<Admission, Refusal> {
        pending().await
    }
}

fn ads() -> Arc<Ads> {
    let cache = Arc::new(SnapshotCache::new());
    Arc::new(Ads {
        fleet: Arc::new(Fleet::new(Arc::clone(&cache))),
        cache,
        directory: Arc::new(Undecided),
        instance: "server".into(),
        control_plane: Vec::new(),
        streams: Arc::new(Semaphore::new(1)),
        limits: Arc::new(Limits::default()),
        stop: Arc::default(),
    })
}

fn framed(message: &DeltaDiscoveryRequest) -> BytesMut {
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.encoded_len()).unwrap());
    message.encode(&mut framed).unwrap();
    framed
}

#[test]
fn the_window_of_the_backlog_is_released_after_admission() {
    let peer = Peer {
        address: "192.0.2.7:4321".parse().unwrap(),
        identity: None,
    };
    let now = Instant::now();
    let mut stream = Discovery::<Delta>::open(&ads(), None, peer, now).unwrap();
    let first = framed(&DeltaDiscoveryRequest {
        node: Some(Node {
            id: "n".to_owned(),
            ..Node::default()
        }),
        ..DeltaDiscoveryRequest::default()
    });
    stream.receive(&first, now);
    assert_eq!(stream.released(), first.len());
    let nothing = framed(&DeltaDiscoveryRequest::default()).repeat(1000);
    stream.receive(&nothing, now);
    assert_eq!(stream.released(), 0);
    // A client may use up its window: what waits then costs no more than that.
    assert!(stream.withheld >= nothing.len() + 1000 * size_of::<Box<[u8]>>());
}
