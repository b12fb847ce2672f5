//! Parses access-log entries and statistics, by the names that Envoy 1.40 gives them.

use std::{
    collections::BTreeMap,
    fmt,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    net::SocketAddr,
    time::Duration,
};

use pointsman_catalog::{DatabaseName, Role};
use pointsman_envoy_config::{
    cluster_of_stat_name, is_parked, probed_database, route_name, route_of_name,
};
use pointsman_xds::{AccessLogKind, MetricFamily, MetricSample, TcpAccessLog};

/// One route of one database.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct RouteKey {
    pub(crate) database: DatabaseName,
    pub(crate) role: Role,
}

/// What an access-log entry says of a connection that a sidecar has accepted.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Connection {
    /// A hash of the stream id, which all entries of one connection share.
    pub(super) id: u64,
    pub(super) route: RouteKey,
    /// The sidecar's own end of the connection to the server.
    pub(super) socket: Option<SocketAddr>,
    pub(super) state: ConnectionState,
    pub(super) received_bytes: u64,
    pub(super) sent_bytes: u64,
}

/// The state of a connection by its newest entry.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum ConnectionState {
    /// It is open to this endpoint.
    Open(SocketAddr),
    /// Open, or still trying to reach the endpoint for the reason given: the entry alone does
    /// not tell.
    OpenOrTrying(SocketAddr, String),
    /// Over; with the reason if the last attempt to connect failed.
    Ended {
        endpoint: Option<SocketAddr>,
        failure: Option<String>,
        lasted: Option<Duration>,
    },
}

/// One flush of a sidecar's statistics. A statistic that it does not mention is zero.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Statistics {
    /// The uptime of the Envoy process, in seconds.
    pub(super) uptime: Option<u64>,
    pub(super) routes: BTreeMap<RouteKey, RouteStatistics>,
    pub(super) probes: BTreeMap<DatabaseName, ProbeStatistics>,
}

/// Gauges as they are, counters since the flush before.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct RouteStatistics {
    /// Connections that applications have to the listener.
    pub(super) downstream: u64,
    /// Connections to servers, those being made included.
    pub(super) upstream: u64,
    /// Connections to servers being made.
    pub(super) connecting: u64,
    /// Attempts to connect that failed; in a hold every attempt does.
    pub(super) connect_failures: u64,
    /// Connections made, and the milliseconds that took, all together.
    pub(super) connects: u64,
    pub(super) connect_ms: f64,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct ProbeStatistics {
    pub(super) endpoints: u64,
    pub(super) healthy: u64,
    pub(super) successes: u64,
    pub(super) failures: u64,
}

/// A statistic that is to be a count, and is none.
#[derive(Debug, thiserror::Error)]
#[error("{statistic} is {value}, which is no count")]
pub(super) struct NoCount {
    statistic: String,
    value: f64,
}

impl fmt::Display for RouteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&route_name(self.role, &self.database))
    }
}

/// The connection that an entry is about; `None` if it says nothing of a session. Parked
/// connections are counted by statistics.
pub(super) fn connection(entry: TcpAccessLog) -> Option<Connection> {
    let (role, database) = route_of_name(&entry.upstream_cluster)?;
    let failed = entry.flags.contains(&"UF");
    let state = match entry.kind {
        AccessLogKind::UpstreamConnected => ConnectionState::Open(entry.upstream_address?),
        AccessLogKind::Periodic if !failed || moved_bytes(&entry) => {
            ConnectionState::Open(entry.upstream_address?)
        }
        // The flag of a failed attempt stays with the connection after a later one has succeeded.
        AccessLogKind::Periodic => {
            ConnectionState::OpenOrTrying(entry.upstream_address?, entry.failure)
        }
        AccessLogKind::Ended => {
            let failed = failed && !moved_bytes(&entry) && !is_parked(&entry.failure);
            ConnectionState::Ended {
                endpoint: entry.upstream_address,
                failure: failed.then_some(entry.failure),
                lasted: entry.duration,
            }
        }
        AccessLogKind::Started | AccessLogKind::Other => return None,
    };
    Some(Connection {
        id: id(&entry.stream_id),
        route: RouteKey { database, role },
        socket: entry.upstream_local_address,
        state,
        received_bytes: entry.received_bytes,
        sent_bytes: entry.sent_bytes,
    })
}

/// Bytes from the server show that it was reached.
fn moved_bytes(entry: &TcpAccessLog) -> bool {
    entry.sent_bytes > 0
}

fn id(stream_id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    stream_id.hash(&mut hasher);
    hasher.finish()
}

/// One flush.
///
/// # Errors
/// If a statistic that is used is no count. Then nothing of the flush is known.
pub(super) fn statistics(families: Vec<MetricFamily>) -> Result<Statistics, NoCount> {
    let mut statistics = Statistics::default();
    for family in families {
        for sample in &family.samples {
            statistics
                .take(&family.name, sample)
                .ok_or_else(|| NoCount {
                    statistic: family.name.clone(),
                    value: sample.value,
                })?;
        }
    }
    Ok(statistics)
}

impl Statistics {
    /// Returns `None` if it is to be a count and is none.
    fn take(&mut self, name: &str, sample: &MetricSample) -> Option<()> {
        if name == "listener.downstream_cx_active" {
            let listener = label(sample, "envoy.listener_address").map(cluster_of_stat_name);
            if let Some(route) = listener.and_then(|name| self.route(&name)) {
                route.downstream = count(sample)?;
            }
        } else if let Some(what) = name.strip_prefix("cluster.") {
            let cluster = label(sample, "envoy.cluster_name").map(cluster_of_stat_name);
            if let Some(cluster) = cluster {
                self.take_cluster(&cluster, what, sample)?;
            }
        } else if name == "server.uptime" {
            self.uptime = Some(count(sample)?);
        }
        Some(())
    }

    fn take_cluster(&mut self, cluster: &str, what: &str, sample: &MetricSample) -> Option<()> {
        if let Some(database) = probed_database(cluster) {
            let probe = self.probes.entry(database).or_default();
            match what {
                "membership_total" => probe.endpoints = count(sample)?,
                "membership_healthy" => probe.healthy = count(sample)?,
                "health_check.success" => probe.successes = count(sample)?,
                "health_check.failure" => probe.failures = count(sample)?,
                _ => {}
            }
        } else if let Some(route) = self.route(cluster) {
            match what {
                "upstream_cx_active" => route.upstream = count(sample)?,
                "upstream_rq_pending_active" => route.connecting = count(sample)?,
                "upstream_cx_connect_fail" => route.connect_failures = count(sample)?,
                "upstream_cx_connect_ms" => {
                    route.connects = sample.count;
                    route.connect_ms = sample.value;
                }
                _ => {}
            }
        }
        Some(())
    }

    fn route(&mut self, name: &str) -> Option<&mut RouteStatistics> {
        let (role, database) = route_of_name(name)?;
        Some(self.routes.entry(RouteKey { database, role }).or_default())
    }
}

fn label<'a>(sample: &'a MetricSample, name: &str) -> Option<&'a str> {
    let found = sample.labels.iter().find(|(label, _)| label == name)?;
    Some(&found.1)
}

/// A count, which travels as a float; `None` if it is none.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is in the range of integers that a float has exactly"
)]
fn count(sample: &MetricSample) -> Option<u64> {
    (0.0..=LARGEST)
        .contains(&sample.value)
        .then_some(sample.value as u64)
}

/// 2^53.
const LARGEST: f64 = 9_007_199_254_740_992.0;

#[cfg(test)]
mod tests;
