//! `pointsman-xds` by its public face: all nodes registered, one group, one snapshot, and the
//! ledger says when all have acknowledged. Led as the floor is.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, DiscoveryType, EdsClusterConfig,
};
use pointsman_xds::{
    Fleet, Group, Limits, NoTelemetry, NodeId, OneGroup, Policy, Resource, ResourceSet,
    ResourceType, Sequence, Snapshot, SnapshotCache, XdsServer,
};
use prost::Message;
use tokio::net::TcpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::certificates;
use super::content::{self, NAME};
use super::control::{answer, cpu, from_hex, listen, now, open_many_files};
use super::h2::OverH2;

/// How the server speaks HTTP/2.
#[derive(Debug, Clone, Copy)]
pub enum Transport<'a> {
    Own,
    /// Over mutual TLS, with the certificates in a folder.
    OwnTls(&'a Path),
    /// By the `h2` crate.
    H2,
}

/// Serves a catalogue of so many databases until the standard input ends.
///
/// # Errors
/// The server failed, or a fleet did not acknowledge in time.
pub async fn run(databases: usize, transport: Transport<'_>) -> anyhow::Result<()> {
    open_many_files()?;
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let listener = socket.listen(BACKLOG)?;
    let address = listener.local_addr()?;
    let cache = Arc::new(SnapshotCache::new());
    let fleet = Arc::new(Fleet::new(Arc::clone(&cache)));
    let group = Group::new("fleet");
    let mut server = XdsServer::new(
        Arc::clone(&cache),
        Arc::clone(&fleet),
        Arc::new(OneGroup(group.clone())),
        Arc::new(NoTelemetry),
        Limits::default(),
    );
    match transport {
        Transport::Own => {}
        Transport::OwnTls(folder) => {
            server = server.with_tls(Arc::new(certificates::server(folder).await?));
        }
        Transport::H2 => server = server.with_http2(Arc::new(OverH2)),
    }
    let (sender, mut commands) = mpsc::unbounded_channel();
    listen(move |line| sender.send(line).is_ok());
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(server.serve(listener, stop.clone()));
    let mut ours = Ours {
        group,
        cache,
        fleet,
        catalogue: Catalogue::of(databases)?,
        registered: 0,
        newest: None,
    };
    answer(&format!("listening {address}"))?;
    while let Some(line) = commands.recv().await {
        tokio::select! {
            done = ours.obey(&line) => done.with_context(|| line.clone())?,
            served = tasks.join_next() => bail!("serving ended: {served:?}"),
        }
    }
    stop.cancel();
    Ok(())
}

struct Ours {
    group: Group,
    cache: Arc<SnapshotCache>,
    fleet: Arc<Fleet>,
    catalogue: Catalogue,
    registered: usize,
    newest: Option<Sequence>,
}

impl Ours {
    async fn obey(&mut self, line: &str) -> anyhow::Result<()> {
        let command: Vec<_> = line.split(' ').collect();
        match *command {
            ["stats"] => answer(&format!("stats {}", cpu())),
            ["await", count] => {
                self.register(count.parse()?);
                self.acked().await
            }
            ["publish", content, count] => {
                self.register(count.parse()?);
                let content = Bytes::from(from_hex(content)?);
                let began = now();
                let snapshot = self.catalogue.with(content)?;
                let called = now();
                let sequence = self
                    .cache
                    .publish(BTreeMap::from([(self.group.clone(), snapshot)]));
                answer(&format!("published {began} {called} {}", now()))?;
                self.newest = Some(sequence);
                self.acked().await
            }
            _ => bail!("not a command"),
        }
    }

    /// Says which nodes are waited for.
    fn register(&mut self, count: usize) {
        if count != self.registered {
            let nodes = (0..count).map(|number| NodeId::new(content::node_id(number)));
            self.fleet.set_registered(nodes);
            self.registered = count;
        }
    }

    async fn acked(&self) -> anyhow::Result<()> {
        let newest = self.newest.context("nothing is published")?;
        let deadline = sleep(PATIENCE);
        let waiting = self.fleet.converge(newest, Policy::AllRegistered, deadline);
        let convergence = waiting.await;
        let at = now();
        ensure!(convergence.reached, "ACKs are missing");
        answer(&format!("acked {at}"))
    }
}

/// All databases: a cluster and an assignment each. [`NAME`] is the first.
struct Catalogue {
    clusters: Arc<ResourceSet>,
    others: Vec<Resource>,
}

impl Catalogue {
    fn of(databases: usize) -> anyhow::Result<Self> {
        let names = || {
            let others = (1..databases).map(|number| format!("writer.database-{number:05}"));
            std::iter::once(NAME.to_owned()).chain(others)
        };
        let clusters = names().map(|name| cluster(&name));
        let others = names().skip(1).map(|name| {
            let body = content::assignment(&name, 1);
            Resource::new(ResourceType::Endpoints, name, body.into())
        });
        Ok(Self {
            clusters: Arc::new(ResourceSet::new(ResourceType::Cluster, clusters)?),
            others: others.collect(),
        })
    }

    fn with(&self, content: Bytes) -> anyhow::Result<Snapshot> {
        let changed = Resource::new(ResourceType::Endpoints, NAME, content);
        let snapshot = Snapshot::builder()
            .share(Arc::clone(&self.clusters))
            .extend(self.others.iter().cloned())
            .insert(changed);
        Ok(snapshot.build()?)
    }
}

fn cluster(name: &str) -> Resource {
    let cluster = Cluster {
        name: name.to_owned(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds as i32)),
        eds_cluster_config: Some(EdsClusterConfig::default()),
        ..Default::default()
    };
    let body = Bytes::from(cluster.encode_to_vec());
    Resource::new(ResourceType::Cluster, name, body)
}

/// Connections that the system keeps ready: as many as Linux allows by default.
const BACKLOG: u32 = 4096;
/// The limit of a wait for the whole fleet.
const PATIENCE: Duration = Duration::from_secs(60);
