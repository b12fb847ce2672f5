//! Access logs and metrics that clients report, as types of this library.
//!
//! A report is not decoded at once: its entries are read one by one, and unused fields are skipped.

mod access_log;
mod metrics;
#[cfg(any(test, fuzzing))]
pub(crate) mod reference;
mod reporter;

use std::{fmt, net::SocketAddr, time::Duration};

pub(crate) use self::{access_log::access_logs, metrics::metric_families, reporter::node_id};
use crate::node::NodeId;

/// Receives telemetry. It is called on the task of the reporting client's connection, which reads
/// nothing until the call returns. A slow sink slows down that client only. The calls must not block.
///
/// The node id is what the client says about itself. A client may have several streams: Envoy opens
/// one for access logs per worker. Each stream ends with a call of [`TelemetrySink::closed`].
pub trait TelemetrySink: fmt::Debug + Send + Sync + 'static {
    fn access_log(&self, node: &NodeId, entry: TcpAccessLog);

    /// All metrics of one message. Envoy sends all metrics of one flush in one message.
    fn metrics(&self, node: &NodeId, families: Vec<MetricFamily>);

    /// A telemetry stream of the node has ended. Its last report is no longer updated.
    fn closed(&self, _node: &NodeId) {}
}

/// Drops all telemetry.
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
    /// Equal in all entries of one downstream connection.
    pub stream_id: String,
    /// Empty as long as no cluster is chosen.
    pub upstream_cluster: String,
    /// The host that was chosen last. It is present on failed attempts, too; only an entry of the kind
    /// [`AccessLogKind::UpstreamConnected`] proves a connection. `None` also for a pipe.
    pub upstream_address: Option<SocketAddr>,
    /// The client's own end of the connection to that host, while there is one.
    pub upstream_local_address: Option<SocketAddr>,
    pub downstream_address: Option<SocketAddr>,
    pub received_bytes: u64,
    pub sent_bytes: u64,
    /// The duration of the connection, in its last entry.
    pub duration: Option<Duration>,
    /// Connect attempts so far.
    pub attempts: u32,
    /// Envoy's names of the response flags, for example `UF`.
    pub flags: Vec<&'static str>,
    /// The client's message on why the last attempt failed; empty if none failed.
    pub failure: String,
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum AccessLogKind {
    Started,
    UpstreamConnected,
    Periodic,
    Ended,
    /// Not of a TCP connection, or newer than this library.
    Other,
}

/// The samples of one metric that have a value. There is at least one.
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
    /// Names and values. None is empty.
    pub labels: Vec<(String, String)>,
    pub value: f64,
    /// The number of observations of a distribution; 1 for other kinds.
    pub count: u64,
}
