//! The reports of all sidecars.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use pointsman_catalog::{DatabaseName, NodeId};
use pointsman_cutover::ports::{Clock, Monotonic};
use pointsman_xds::{MetricFamily, TcpAccessLog, TelemetrySink};
use tokio::sync::watch;
use tracing::warn;

use super::{
    node::{LastSessions, NodeTracker, NodeUsage},
    probe::ProbeResult,
    report,
};
use crate::publish::HoldTimer;

/// Receives the telemetry of sidecars, and counts the sessions of each.
#[derive(Debug)]
pub(crate) struct SessionTracker {
    pub(super) clock: Arc<dyn Clock>,
    /// Failures of a hold do not count.
    holds: Arc<HoldTimer>,
    /// Each behind its own lock: sidecars report side by side.
    nodes: RwLock<HashMap<NodeId, Arc<Mutex<NodeTracker>>>>,
    /// Grows with each report.
    changes: watch::Sender<u64>,
}

impl SessionTracker {
    pub(crate) fn new(clock: Arc<dyn Clock>, holds: Arc<HoldTimer>) -> Self {
        Self {
            clock,
            holds,
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
        self.read(node, NodeTracker::usage)
    }

    /// The same of these databases alone.
    pub(crate) fn usage_of(&self, node: &NodeId, databases: &[DatabaseName]) -> Option<NodeUsage> {
        self.read(node, |tracker, now| tracker.usage_of(databases, now))
    }

    /// The sessions that `node` had when it last reported; `None` if it never did.
    pub(crate) fn last_sessions(&self, node: &NodeId) -> Option<LastSessions> {
        self.read(node, |tracker, _now| tracker.last_sessions())
    }

    /// What `node` said of its tries of `database`'s probe after `since`.
    pub(crate) fn probe_result(
        &self,
        node: &NodeId,
        database: &DatabaseName,
        since: Monotonic,
    ) -> Option<ProbeResult> {
        self.read(node, |tracker, now| {
            tracker.probe_result(database, since, now)
        })?
    }

    fn read<T>(&self, node: &NodeId, look: impl FnOnce(&NodeTracker, Monotonic) -> T) -> Option<T> {
        let nodes = self.nodes.read().unwrap_or_else(PoisonError::into_inner);
        let tracker = Arc::clone(nodes.get(node)?);
        drop(nodes);
        let tracker = tracker.lock().unwrap_or_else(PoisonError::into_inner);
        Some(look(&tracker, self.clock.monotonic()))
    }

    fn change(
        &self,
        node: &pointsman_xds::NodeId,
        change: impl FnOnce(&mut NodeTracker, Monotonic),
    ) {
        // A name that cannot be registered is never asked for.
        let Ok(node) = NodeId::new(node.as_str()) else {
            return;
        };
        let now = self.clock.monotonic();
        let Some(tracker) = self.find(&node, now) else {
            return;
        };
        change(
            &mut tracker.lock().unwrap_or_else(PoisonError::into_inner),
            now,
        );
        self.changes.send_modify(|count| *count += 1);
    }

    fn find(&self, node: &NodeId, now: Monotonic) -> Option<Arc<Mutex<NodeTracker>>> {
        let nodes = self.nodes.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(tracker) = nodes.get(node) {
            return Some(Arc::clone(tracker));
        }
        drop(nodes);
        let mut nodes = self.nodes.write().unwrap_or_else(PoisonError::into_inner);
        if nodes.len() >= MAX_NODES {
            nodes.retain(|_, tracker| {
                let tracker = tracker.lock().unwrap_or_else(PoisonError::into_inner);
                !tracker.is_forgotten(now)
            });
        }
        if nodes.len() >= MAX_NODES {
            warn!(%node, "{MAX_NODES} sidecars report already: this one's report is dropped");
            return None;
        }
        let new = || Arc::new(Mutex::new(NodeTracker::new(now)));
        Some(Arc::clone(nodes.entry(node.clone()).or_insert_with(new)))
    }
}

impl TelemetrySink for SessionTracker {
    fn access_log(&self, node: &pointsman_xds::NodeId, entry: TcpAccessLog) {
        if let Some(connection) = report::connection(entry) {
            self.change(node, |tracker, now| tracker.connection(&connection, now));
        }
    }

    fn metrics(&self, node: &pointsman_xds::NodeId, families: Vec<MetricFamily>) {
        let statistics = match report::statistics(families) {
            Ok(statistics) => statistics,
            Err(error) => {
                warn!(%node, %error, "a sidecar's statistics are not used: nothing is known of it");
                return;
            }
        };
        self.change(node, |tracker, now| {
            tracker.statistics(statistics, |database| self.holds.holds(database), now);
        });
    }

    fn closed(&self, node: &pointsman_xds::NodeId) {
        self.change(node, |tracker, _now| tracker.stream_ended());
    }
}

/// Twice the largest fleet that one control plane is meant for.
const MAX_NODES: usize = 20_000;
