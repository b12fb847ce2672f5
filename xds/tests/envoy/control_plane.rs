//! The server under test, in this process.

use std::{collections::BTreeMap, net::Ipv4Addr, sync::Arc, time::Duration};

use pointsman_lab::{patience::DEADLINE, ports::free_port};
use pointsman_xds::{
    Convergence, Fleet, Group, Limits, NoTelemetry, NodeId, NodeStatus, OneGroup, Policy, Resource,
    Sequence, ServeError, Snapshot, SnapshotCache, XdsServer,
};
use tokio::{
    net::TcpListener,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// A server with one group.
pub(crate) struct ControlPlane {
    pub(crate) port: u16,
    pub(crate) cache: Arc<SnapshotCache>,
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) stop: CancellationToken,
    pub(crate) serving: JoinSet<Result<(), ServeError>>,
}

impl ControlPlane {
    /// One that expects an Envoy called `sidecar`.
    pub(crate) async fn start() -> Self {
        Self::at(free_port()).await
    }

    pub(crate) async fn at(port: u16) -> Self {
        Self::expecting(["sidecar"], port).await
    }

    pub(crate) async fn expecting(nodes: impl IntoIterator<Item = &str>, port: u16) -> Self {
        let served = Self::over(port, |cache, fleet| {
            let directory = Arc::new(OneGroup(group()));
            let limits = Limits::default();
            XdsServer::new(cache, fleet, directory, Arc::new(NoTelemetry), limits)
        });
        let served = served.await;
        let nodes = nodes.into_iter().map(NodeId::from);
        served.fleet.set_registered(nodes);
        served
    }

    /// Serves with what `server` makes of a cache and a fleet.
    pub(crate) async fn over(
        port: u16,
        server: impl FnOnce(Arc<SnapshotCache>, Arc<Fleet>) -> XdsServer,
    ) -> Self {
        let cache = Arc::new(SnapshotCache::new());
        let fleet = Arc::new(Fleet::new(Arc::clone(&cache)));
        let server = server(Arc::clone(&cache), Arc::clone(&fleet));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .await
            .unwrap();
        let stop = CancellationToken::new();
        let mut serving = JoinSet::new();
        serving.spawn(server.serve(listener, stop.clone()));
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

    /// What all nodes have made of a publish.
    pub(crate) async fn converge(&self, sequence: Sequence) -> Convergence {
        self.converge_within(sequence, DEADLINE).await
    }

    pub(crate) async fn converge_within(
        &self,
        sequence: Sequence,
        patience: Duration,
    ) -> Convergence {
        let everybody = Policy::AllRegistered;
        let converging = self.fleet.converge(sequence, everybody, sleep(patience));
        converging.await
    }

    /// Publishes, and waits until all nodes have acknowledged it, promptly.
    pub(crate) async fn flip(&self, resources: Vec<Resource>) -> Convergence {
        let sequence = self.publish(resources);
        let convergence = self.converge(sequence).await;
        assert!(convergence.reached, "{convergence:?}");
        assert!(convergence.took < PROMPT, "{convergence:?}");
        convergence
    }

    /// How the one node stands.
    pub(crate) fn status(&self) -> NodeStatus {
        self.fleet.status().into_iter().next().unwrap()
    }

    /// Waits until the one node stands like that.
    pub(crate) async fn stands(&self, mut so: impl FnMut(&NodeStatus) -> bool) {
        let mut changes = self.fleet.watch();
        let stands = changes.wait_for(|_| so(&self.status()));
        let stands = timeout(DEADLINE, stands).await;
        stands
            .unwrap_or_else(|_| panic!("{:?}", self.status()))
            .unwrap();
    }

    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        let stopped = timeout(DEADLINE, self.serving.join_next()).await;
        stopped.unwrap().unwrap().unwrap().unwrap();
    }
}

pub(crate) fn group() -> Group {
    Group::new("all")
}

/// Envoy's own fetch timeout is 15 s: what waits for it has been left without an answer.
const PROMPT: Duration = Duration::from_secs(5);
