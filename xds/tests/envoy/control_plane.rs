use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use pointsman_xds::{
    Convergence, Fleet, Group, Limits, NoTelemetry, NodeDescription, NodeDirectory, NodeId, Peer,
    Policy, Refusal, Resource, Sequence, Snapshot, SnapshotCache, XdsServer,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{Instant, interval, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::process::free_port;

/// A server with one group, which expects one sidecar.
pub(crate) struct ControlPlane {
    pub(crate) port: u16,
    cache: Arc<SnapshotCache>,
    fleet: Arc<Fleet>,
    stop: CancellationToken,
    serving: JoinSet<()>,
}

impl ControlPlane {
    pub(crate) async fn start() -> Self {
        Self::at(free_port()).await
    }

    pub(crate) async fn at(port: u16) -> Self {
        let cache = Arc::new(SnapshotCache::new());
        let fleet = Arc::new(Fleet::new(Arc::clone(&cache)));
        fleet.set_registered([NodeId::from("sidecar")]);
        let stop = CancellationToken::new();
        let server = XdsServer::new(
            Arc::clone(&cache),
            Arc::clone(&fleet),
            Arc::new(Everybody),
            Arc::new(NoTelemetry),
            Limits::default(),
        );
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .await
            .unwrap();
        let mut serving = JoinSet::new();
        let stopping = stop.clone();
        serving.spawn(async move { server.serve(listener, stopping).await.unwrap() });
        Self {
            port,
            cache,
            fleet,
            stop,
            serving,
        }
    }

    pub(crate) fn publish(&self, resources: Vec<Resource>) -> Sequence {
        let snapshot = Snapshot::builder().extend(resources).build().unwrap();
        self.cache.publish(BTreeMap::from([(group(), snapshot)]))
    }

    pub(crate) async fn converge(&self, sequence: Sequence) -> Convergence {
        let deadline = Instant::now() + DEADLINE;
        let everybody = Policy::AllRegistered;
        self.fleet.converge(sequence, everybody, deadline).await
    }

    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        let stopped = timeout(DEADLINE, self.serving.join_next()).await;
        stopped.unwrap().unwrap().unwrap();
    }
}

/// Says its name to every connection and closes it.
pub(crate) struct Backend {
    address: SocketAddr,
    _accepting: JoinSet<()>,
}

impl Backend {
    pub(crate) async fn start(name: &'static str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, free_port()));
        let listener = listener.await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            while let Ok((mut connection, _)) = listener.accept().await {
                // Whoever is gone again needs no answer.
                let _ = connection.write_all(name.as_bytes()).await;
            }
        });
        Self {
            address,
            _accepting: accepting,
        }
    }

    pub(crate) fn port(&self) -> u32 {
        self.address.port().into()
    }
}

/// Waits until the backend of this name is behind a port: Envoy acknowledges what its workers
/// begin to use a little later.
pub(crate) async fn answers(port: u16, name: &str) {
    until(async || ask(port).await.ok().filter(|answer| answer == name)).await;
}

/// Waits until nobody listens at a port.
pub(crate) async fn refused(port: u16) {
    until(async || ask(port).await.err()).await;
}

async fn ask(port: u16) -> io::Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    let mut name = String::new();
    stream.read_to_string(&mut name).await?;
    Ok(name)
}

async fn until<T>(mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let mut attempts = interval(Duration::from_millis(10));
    let succeeded = timeout(DEADLINE, async {
        loop {
            attempts.tick().await;
            if let Some(result) = attempt().await {
                return result;
            }
        }
    });
    succeeded.await.expect("took too long")
}

fn group() -> Group {
    Group::new("all")
}

#[derive(Debug)]
struct Everybody;

#[async_trait]
impl NodeDirectory for Everybody {
    async fn admit(&self, _node: &NodeDescription, _peer: &Peer) -> Result<Group, Refusal> {
        Ok(group())
    }
}

/// Above Envoy's 15 s, so that a test can tell that this is what it waited for.
const DEADLINE: Duration = Duration::from_secs(20);
