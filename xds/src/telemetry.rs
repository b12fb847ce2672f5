//! What clients report about their traffic, in this library's own words.

use std::{fmt, net::SocketAddr, time::Duration};

use envoy_types::pb::{
    envoy::{
        config::core::v3::{Address, address, socket_address::PortSpecifier},
        data::accesslog::v3::{AccessLogCommon, AccessLogType, ResponseFlags, TcpAccessLogEntry},
    },
    google::protobuf,
    io::prometheus::client as prometheus,
};

use crate::node::NodeId;

/// Receives what clients report. Called on the task of the stream that brought it, which
/// reads no further until the call returns: a slow sink slows the reporting client down and
/// nobody else. It must not block.
///
/// The id is what the client says of itself. One client has several streams (Envoy: one for
/// access logs per worker); each ends with a call of [`TelemetrySink::closed`].
pub trait TelemetrySink: fmt::Debug + Send + Sync + 'static {
    fn access_log(&self, node: &NodeId, entry: TcpAccessLog);

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

/// All samples of one metric.
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
    pub labels: Vec<(String, String)>,
    pub value: f64,
    /// Of a distribution; 1 otherwise.
    pub count: u64,
}

impl From<TcpAccessLogEntry> for TcpAccessLog {
    fn from(entry: TcpAccessLogEntry) -> Self {
        let common = entry.common_properties.unwrap_or_default();
        let connection = entry.connection_properties.unwrap_or_default();
        Self {
            kind: kind(&common),
            stream_id: common.stream_id,
            upstream_cluster: common.upstream_cluster,
            upstream_address: common.upstream_remote_address.and_then(socket),
            downstream_address: common.downstream_remote_address.and_then(socket),
            received_bytes: connection.received_bytes,
            sent_bytes: connection.sent_bytes,
            duration: common.duration.and_then(duration),
            attempts: common.upstream_request_attempt_count,
            flags: common
                .response_flags
                .as_ref()
                .map(flags)
                .unwrap_or_default(),
            failure: common.upstream_transport_failure_reason,
        }
    }
}

fn kind(common: &AccessLogCommon) -> AccessLogKind {
    const STARTED: i32 = AccessLogType::TcpConnectionStart as i32;
    const CONNECTED: i32 = AccessLogType::TcpUpstreamConnected as i32;
    const PERIODIC: i32 = AccessLogType::TcpPeriodic as i32;
    const ENDED: i32 = AccessLogType::TcpConnectionEnd as i32;
    match common.access_log_type {
        STARTED => AccessLogKind::Started,
        CONNECTED => AccessLogKind::UpstreamConnected,
        PERIODIC => AccessLogKind::Periodic,
        ENDED => AccessLogKind::Ended,
        _ => AccessLogKind::Other,
    }
}

/// `None` for a negative one.
fn duration(duration: protobuf::Duration) -> Option<Duration> {
    let seconds = u64::try_from(duration.seconds).ok()?;
    let nanos = u32::try_from(duration.nanos).ok()?;
    Some(Duration::from_secs(seconds) + Duration::from_nanos(nanos.into()))
}

fn socket(address: Address) -> Option<SocketAddr> {
    match address.address? {
        address::Address::SocketAddress(socket) => {
            let PortSpecifier::PortValue(port) = socket.port_specifier? else {
                return None;
            };
            let address = socket.address.parse().ok()?;
            Some(SocketAddr::new(address, u16::try_from(port).ok()?))
        }
        address::Address::Pipe(_) | address::Address::EnvoyInternalAddress(_) => None,
    }
}

/// The flags that a TCP connection can have.
/// <https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage>
fn flags(flags: &ResponseFlags) -> Vec<&'static str> {
    [
        (flags.no_healthy_upstream, "UH"),
        (flags.upstream_connection_failure, "UF"),
        (flags.upstream_connection_termination, "UC"),
        (flags.upstream_remote_reset, "UR"),
        (flags.upstream_overflow, "UO"),
        (flags.upstream_retry_limit_exceeded, "URX"),
        (flags.no_cluster_found, "NC"),
        (flags.no_route_found, "NR"),
        (flags.local_reset, "LR"),
        (flags.downstream_connection_termination, "DC"),
        (flags.downstream_remote_reset, "DR"),
        (flags.duration_timeout, "DT"),
        (flags.stream_idle_timeout, "SI"),
        (flags.overload_manager, "OM"),
        (flags.rate_limited, "RL"),
    ]
    .into_iter()
    .filter_map(|(set, name)| set.then_some(name))
    .collect()
}

impl From<prometheus::MetricFamily> for MetricFamily {
    fn from(family: prometheus::MetricFamily) -> Self {
        let kind = match family.r#type() {
            prometheus::MetricType::Counter => MetricKind::Counter,
            prometheus::MetricType::Gauge => MetricKind::Gauge,
            prometheus::MetricType::Summary
            | prometheus::MetricType::Histogram
            | prometheus::MetricType::GaugeHistogram => MetricKind::Distribution,
            prometheus::MetricType::Untyped => MetricKind::Untyped,
        };
        Self {
            name: family.name.unwrap_or_default(),
            kind,
            samples: family.metric.into_iter().map(sample).collect(),
        }
    }
}

fn sample(metric: prometheus::Metric) -> MetricSample {
    let labels = metric
        .label
        .into_iter()
        .map(|label| {
            (
                label.name.unwrap_or_default(),
                label.value.unwrap_or_default(),
            )
        })
        .collect();
    let single = metric
        .counter
        .and_then(|counter| counter.value)
        .or_else(|| metric.gauge.and_then(|gauge| gauge.value))
        .or_else(|| metric.untyped.and_then(|untyped| untyped.value))
        .map(|value| (value, 1));
    let (value, count) = single
        .or_else(|| {
            let summary = metric.summary.as_ref()?;
            Some((summary.sample_sum?, summary.sample_count?))
        })
        .or_else(|| {
            let histogram = metric.histogram.as_ref()?;
            Some((histogram.sample_sum?, histogram.sample_count?))
        })
        .unwrap_or_default();
    MetricSample {
        labels,
        value,
        count,
    }
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::{
        config::core::v3::SocketAddress, data::accesslog::v3::ConnectionProperties,
    };

    use super::*;

    #[test]
    fn an_entry_keeps_what_a_connection_census_needs() {
        let upstream = Address {
            address: Some(address::Address::SocketAddress(SocketAddress {
                address: "127.0.0.1".to_owned(),
                port_specifier: Some(PortSpecifier::PortValue(5432)),
                ..Default::default()
            })),
        };
        let entry = TcpAccessLog::from(TcpAccessLogEntry {
            common_properties: Some(AccessLogCommon {
                access_log_type: AccessLogType::TcpPeriodic as i32,
                stream_id: "7".to_owned(),
                upstream_remote_address: Some(upstream),
                upstream_request_attempt_count: 17,
                response_flags: Some(ResponseFlags {
                    upstream_connection_failure: true,
                    ..Default::default()
                }),
                ..Default::default()
            }),
            connection_properties: Some(ConnectionProperties {
                received_bytes: 1,
                sent_bytes: 2,
            }),
        });
        assert_eq!(entry.kind, AccessLogKind::Periodic);
        assert_eq!(entry.upstream_address, Some(([127, 0, 0, 1], 5432).into()));
        assert_eq!((entry.attempts, &entry.flags[..]), (17, &["UF"][..]));
        assert_eq!((entry.received_bytes, entry.sent_bytes), (1, 2));
    }
}
