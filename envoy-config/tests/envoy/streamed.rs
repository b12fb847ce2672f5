use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use pointsman_catalog::UnixMillis;
use pointsman_envoy_config::Transport;
use pointsman_lab::{
    patience::{DEADLINE, until},
    ports::free_port,
};
use pointsman_xds::{
    Group, Limits, NoTelemetry, NodeDescription, NodeDirectory, NodeId, Peer, PermissionDenied,
    Policy, Resource, Snapshot, SnapshotCache, XdsServer,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{Instant, timeout},
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    fleet::Fleet,
    sidecar::{LISTEN, NODE, Sidecar},
};

#[tokio::test]
async fn a_sidecar_acknowledges_every_route_and_does_what_it_says() {
    for transport in [Transport::Delta, Transport::StateOfTheWorld] {
        let server = Server::start().await;
        let until = UnixMillis::now().plus(Duration::from_secs(25));
        let mut fleet = Fleet::with_every_route(server.address, until, free_port);
        let control_plane = ControlPlane::start().await;
        control_plane.publish(&fleet).await;
        let _sidecar = Sidecar::start(control_plane.address, transport).await;
        let writer = |name: &str| fleet.writer(LISTEN, name);

        assert_eq!(answer(&mut connect(writer("served")).await).await, GREETING);
        control_plane.publish(&fleet).await;
        let mut refused = connect(writer("refused")).await;
        assert_eq!(answer(&mut refused).await, b"");
        let mut held = connect(writer("held")).await;
        let early = timeout(Duration::from_millis(500), held.read_u8()).await;
        assert!(early.is_err(), "{transport:?}: {early:?}");

        fleet.serve_from_blue("held");
        control_plane.publish(&fleet).await;
        assert_eq!(answer(&mut held).await, GREETING, "{transport:?}");
    }
}

/// A hold without an end would park clients at a fenced server for as long as they wait.
#[tokio::test]
async fn a_hold_ends_in_refusing_without_a_control_plane() {
    let server = Server::start().await;
    let until = UnixMillis::now().plus(Duration::from_secs(4));
    let fleet = Fleet::with_every_route(server.address, until, free_port);
    let control_plane = ControlPlane::start().await;
    control_plane.publish(&fleet).await;
    let _sidecar = Sidecar::start(control_plane.address, Transport::Delta).await;
    let held = fleet.writer(LISTEN, "held");
    let mut parked = connect(held).await;
    drop(control_plane);

    assert_eq!(answer(&mut parked).await, b"");
    let over = UnixMillis::now();
    assert!(
        over.plus(Duration::from_millis(100)) >= until,
        "{over} {until}"
    );
    assert_eq!(answer(&mut connect(held).await).await, b"");
    let mut served = connect(fleet.writer(LISTEN, "served")).await;
    assert_eq!(answer(&mut served).await, GREETING);
}

const GREETING: &[u8] = b"blue";

/// Connects as soon as the sidecar listens.
async fn connect(at: SocketAddr) -> TcpStream {
    until("the listener", async || TcpStream::connect(at).await.ok()).await
}

/// All that comes until the other side closes or resets: nothing if that is the first thing.
async fn answer(stream: &mut TcpStream) -> Vec<u8> {
    let mut answer = Vec::new();
    // A reset is an end like another.
    let _ = timeout(DEADLINE, stream.read_to_end(&mut answer))
        .await
        .unwrap();
    answer
}

/// Greets every connection and closes it.
struct Server {
    address: SocketAddr,
    _accepting: JoinSet<()>,
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            while let Ok((mut connection, _)) = listener.accept().await {
                // Whoever is gone again needs no greeting.
                let _ = connection.write_all(GREETING).await;
            }
        });
        Self {
            address,
            _accepting: accepting,
        }
    }
}

/// The xDS server with one group; gone when it is dropped.
struct ControlPlane {
    address: SocketAddr,
    cache: Arc<SnapshotCache>,
    acknowledged: Arc<pointsman_xds::Fleet>,
    _stop: DropGuard,
    _serving: JoinSet<()>,
}

impl ControlPlane {
    async fn start() -> Self {
        let cache = Arc::new(SnapshotCache::new());
        let acknowledged = Arc::new(pointsman_xds::Fleet::new(Arc::clone(&cache)));
        let server = XdsServer::new(
            Arc::clone(&cache),
            Arc::clone(&acknowledged),
            Arc::new(OneGroup),
            Arc::new(NoTelemetry),
            Limits::default(),
        );
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let stopping = stop.clone();
        let mut serving = JoinSet::new();
        serving.spawn(async move { server.serve(listener, stopping).await.unwrap() });
        Self {
            address,
            cache,
            acknowledged,
            _stop: stop.drop_guard(),
            _serving: serving,
        }
    }

    /// Publishes `fleet`, and waits until a sidecar that is connected has acknowledged all.
    async fn publish(&self, fleet: &Fleet) {
        let resources = fleet.render(LISTEN).into_iter().map(Resource::from);
        let snapshot = Snapshot::builder().extend(resources).build().unwrap();
        let sequence = self.cache.publish([(group(), snapshot)].into());
        let connected = self.acknowledged.status().into_iter().map(|node| node.id);
        self.acknowledged.set_registered(connected);
        let deadline = Instant::now() + DEADLINE;
        let policy = Policy::AllRegistered;
        let convergence = self.acknowledged.converge(sequence, policy, deadline).await;
        assert!(convergence.reached, "{convergence:?}");
    }
}

#[derive(Debug)]
struct OneGroup;

#[async_trait]
impl NodeDirectory for OneGroup {
    async fn admit(&self, node: &NodeDescription, _peer: &Peer) -> Result<Group, PermissionDenied> {
        assert_eq!(node.id, NodeId::from(NODE));
        Ok(group())
    }
}

fn group() -> Group {
    Group::new("all")
}
