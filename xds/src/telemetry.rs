//! What clients report about their traffic, in this library's own words.
//!
//! A report is never decoded whole: its entries are looked at one by one, and nothing is made of
//! fields that are not read.

mod access_log;
mod metrics;
#[cfg(any(test, fuzzing))]
pub(crate) mod reference;
mod reporter;

use std::{fmt, net::SocketAddr, time::Duration};

pub(crate) use self::{access_log::access_logs, metrics::metric_families, reporter::node_id};
use crate::node::NodeId;

/// Receives what clients report. Called on the task of the connection that brought it, which
/// reads no further until the call returns: a slow sink slows the reporting client down and
/// nobody else. It must not block.
///
/// The id is what the client says of itself. One client has several streams (Envoy: one for
/// access logs per worker); each ends with a call of [`TelemetrySink::closed`].
pub trait TelemetrySink: fmt::Debug + Send + Sync + 'static {
    fn access_log(&self, node: &NodeId, entry: TcpAccessLog);

    /// All that one message reports: Envoy, everything of one flush.
    fn metrics(&self, node: &NodeId, families: Vec<MetricFamily>);

    /// A telemetry stream of the node has ended; what it last reported is getting old.
    fn closed(&self, _node: &NodeId) {}
}

/// Drops everything.
#[derive(Debug)]
pub struct NoTelemetry;

impl TelemetrySink for NoTelemetry {
    fn access_log(&self, _node: &NodeId, _entry: TcpAccessLog) {}

    fn metrics(&self, _node: &NodeId, _families: Vec<MetricFamily>) {}
}

/// One entry of a TCP access log.
#[derive(Clone, Debug, PartialEq)]
pub struct TcpAccessLog {
    pub kind: AccessLogKind,
    /// The same in all entries of one downstream connection.
    pub stream_id: String,
    /// Empty before a cluster is chosen.
    pub upstream_cluster: String,
    /// Of the host chosen last. Present on failed attempts too: it proves no connection, the
    /// kind [`AccessLogKind::UpstreamConnected`] does. `None` also for a pipe.
    pub upstream_address: Option<SocketAddr>,
    pub downstream_address: Option<SocketAddr>,
    pub received_bytes: u64,
    pub sent_bytes: u64,
    /// Of the whole connection, in its last entry.
    pub duration: Option<Duration>,
    /// Connect attempts so far.
    pub attempts: u32,
    /// Envoy's names of the response flags, such as `UF`.
    pub flags: Vec<&'static str>,
    /// Why the last attempt failed, in the client's words; empty if none did.
    pub failure: String,
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum AccessLogKind {
    Started,
    UpstreamConnected,
    Periodic,
    Ended,
    /// Of no TCP connection, or newer than this library.
    Other,
}

/// All samples of one metric that have a value; there is one at least.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricFamily {
    pub name: String,
    pub kind: MetricKind,
    pub samples: Vec<MetricSample>,
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum MetricKind {
    Counter,
    Gauge,
    /// A histogram or summary; a sample's value is its sum.
    Distribution,
    Untyped,
}

#[derive(Clone, Debug, PartialEq)]
pub struct MetricSample {
    /// Name and value, neither of them empty.
    pub labels: Vec<(String, String)>,
    pub value: f64,
    /// Of a distribution; 1 otherwise.
    pub count: u64,
}
