//! What the control plane's refusals mean to a cache, over a connection.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use pointsman_xds::{
    Admission, Fleet, Limits, NoTelemetry, NodeDescription, NodeDirectory, Peer, Refusal,
    SnapshotCache, XdsServer,
};
use tokio::{net::TcpListener, task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;

use super::*;

/// Refuses one stream after the other for the next of these reasons.
#[derive(Debug)]
struct Refusing(Mutex<Vec<Refusal>>);

#[async_trait]
impl NodeDirectory for Refusing {
    async fn admit(&self, _node: &NodeDescription, _peer: &Peer) -> Result<Admission, Refusal> {
        let mut left = self.0.lock().unwrap();
        let last = Refusal::Unavailable("there is no further reason".to_owned());
        Err(left.pop().unwrap_or(last))
    }
}

#[tokio::test]
async fn only_a_denial_takes_away_what_is_kept() {
    let early = Refusal::Unavailable("no member has listened yet".to_owned());
    let retired = Refusal::Denied("nobody registered it".to_owned());
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let cache = Arc::new(SnapshotCache::new());
    let server = XdsServer::new(
        Arc::clone(&cache),
        Arc::new(Fleet::new(cache)),
        Arc::new(Refusing(Mutex::new(vec![retired, early]))),
        Arc::new(NoTelemetry),
        Limits::default(),
    );
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        server.serve(listener, CancellationToken::new()).await.ok();
    });
    let (news, mut heard) = mpsc::channel(1);
    let upstream = Upstream {
        xds: address.to_string().parse().unwrap(),
        tls: None,
        node: Node {
            id: "app-1".to_owned(),
            listen: [127, 0, 0, 11].into(),
        },
        refresh: Duration::from_secs(60),
        news,
    };
    tasks.spawn(upstream.run());
    let mut next = async || timeout(SOON, heard.recv()).await.unwrap().unwrap();
    let first = next().await;
    assert!(matches!(first, News::Unreachable), "{first:?}");
    let second = next().await;
    assert!(
        matches!(&second, News::Withdrawn(reason) if reason == "nobody registered it"),
        "{second:?}"
    );
}

const SOON: Duration = Duration::from_secs(20);
