//! Every sidecar's report, side by side.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use pointsman_catalog::{DatabaseName, NodeId};
use pointsman_xds::{MetricFamily, TcpAccessLog, TelemetrySink};
use tokio::{sync::watch, time::Instant};
use tracing::warn;

use super::{
    node::{NodeCensus, NodeUsage},
    probe::Tried,
    report,
};
use crate::fleet::Publisher;

/// Receives what the sidecars stream back, and says what passes through each of them.
#[derive(Debug)]
pub(crate) struct SessionCensus {
    /// Says which databases are in a hold.
    publisher: Arc<Publisher>,
    /// Each behind its own lock: sidecars report side by side.
    nodes: RwLock<HashMap<NodeId, Arc<Mutex<NodeCensus>>>>,
    /// Grows with each report.
    changes: watch::Sender<u64>,
}

impl SessionCensus {
    pub(crate) fn new(publisher: Arc<Publisher>) -> Self {
        Self {
            publisher,
            nodes: RwLock::default(),
            changes: watch::Sender::new(0),
        }
    }

    /// Grows with every report of any sidecar.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// What `node` reports; `None` if it never did.
    pub(crate) fn usage(&self, node: &NodeId) -> Option<NodeUsage> {
        self.read(node, |census| census.usage(Instant::now()))
    }

    /// The same of these databases alone.
    pub(crate) fn usage_of(&self, node: &NodeId, databases: &[DatabaseName]) -> Option<NodeUsage> {
        self.read(node, |census| census.usage_of(databases, Instant::now()))
    }

    /// What `node` said of its tries of `database`'s probe after `since`.
    pub(crate) fn tried(
        &self,
        node: &NodeId,
        database: &DatabaseName,
        since: Instant,
    ) -> Option<Tried> {
        self.read(node, |census| census.tried(database, since, Instant::now()))?
    }

    fn read<T>(&self, node: &NodeId, look: impl FnOnce(&NodeCensus) -> T) -> Option<T> {
        let nodes = self.nodes.read().unwrap_or_else(PoisonError::into_inner);
        let census = Arc::clone(nodes.get(node)?);
        drop(nodes);
        let census = census.lock().unwrap_or_else(PoisonError::into_inner);
        Some(look(&census))
    }

    fn change(&self, node: &pointsman_xds::NodeId, change: impl FnOnce(&mut NodeCensus, Instant)) {
        // Nobody can register another name, so nobody would ask for it.
        let Ok(node) = NodeId::new(node.as_str()) else {
            return;
        };
        let now = Instant::now();
        let Some(census) = self.find(&node, now) else {
            return;
        };
        change(
            &mut census.lock().unwrap_or_else(PoisonError::into_inner),
            now,
        );
        self.changes.send_modify(|count| *count += 1);
    }

    fn find(&self, node: &NodeId, now: Instant) -> Option<Arc<Mutex<NodeCensus>>> {
        let nodes = self.nodes.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(census) = nodes.get(node) {
            return Some(Arc::clone(census));
        }
        drop(nodes);
        let mut nodes = self.nodes.write().unwrap_or_else(PoisonError::into_inner);
        if nodes.len() >= MAX_NODES {
            nodes.retain(|_, census| {
                let census = census.lock().unwrap_or_else(PoisonError::into_inner);
                !census.is_forgotten(now)
            });
        }
        if nodes.len() >= MAX_NODES {
            warn!(%node, "{MAX_NODES} sidecars report already: this one's report is dropped");
            return None;
        }
        let new = || Arc::new(Mutex::new(NodeCensus::new(now)));
        Some(Arc::clone(nodes.entry(node.clone()).or_insert_with(new)))
    }
}

impl TelemetrySink for SessionCensus {
    fn access_log(&self, node: &pointsman_xds::NodeId, entry: TcpAccessLog) {
        if let Some(connection) = report::connection(entry) {
            self.change(node, |census, now| census.connection(&connection, now));
        }
    }

    fn metrics(&self, node: &pointsman_xds::NodeId, families: Vec<MetricFamily>) {
        let statistics = report::statistics(families);
        self.change(node, |census, now| {
            census.statistics(statistics, |database| self.publisher.holds(database), now);
        });
    }

    fn closed(&self, node: &pointsman_xds::NodeId) {
        self.change(node, |census, _now| census.stream_ended());
    }
}

/// Twice the largest fleet that one control plane is meant for.
const MAX_NODES: usize = 20_000;

/// How long a silent sidecar's last words are kept when there is no room for another.
pub(super) const KEPT: Duration = Duration::from_secs(600);
