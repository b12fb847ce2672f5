//! What a report says according to the whole messages, decoded at once. That costs many times
//! the report's bytes; it shows what is read otherwise where they are looked at one by one.

use std::fmt::Debug;

use envoy_types::pb::{
    envoy::{
        config::core::v3::Node,
        data::accesslog::v3::TcpAccessLogEntry,
        service::{
            accesslog::v3::stream_access_logs_message::{Identifier, TcpAccessLogEntries},
            metrics::v3::StreamMetricsMessage,
        },
    },
    io::prometheus::client as prometheus,
};
use prost::{DecodeError, Message as _};

use super::{
    MetricFamily, MetricSample, TcpAccessLog, access_log, access_logs, metric_families, metrics,
    node_id,
};
use crate::encoded_fields::for_each_field;

/// `StreamAccessLogsMessage`, which has either log; when a client sends both, both are read.
#[derive(Clone, PartialEq, prost::Message)]
struct AccessLogs {
    #[prost(message, optional, tag = "1")]
    identifier: Option<Identifier>,
    #[prost(message, optional, tag = "3")]
    tcp_logs: Option<TcpAccessLogEntries>,
}

/// Reads a report both ways. The first byte says of which kind it is.
///
/// # Errors
/// A description of the difference, if the two differ.
pub(crate) fn check(bytes: &[u8]) -> Result<(), String> {
    let Some((subject, report)) = bytes.split_first() else {
        return Ok(());
    };
    match subject % 2 {
        0 => agree(read_logs(report), decoded_logs(report)),
        _ => agree(read_metrics(report), decoded_metrics(report)),
    }
}

/// The node's id and what it reports.
type Report<T> = Result<(String, Vec<T>), DecodeError>;

/// A report that does not decode as a whole may be read: its fault can be where nobody looks.
/// They are compared as texts, for no NaN equals itself.
fn agree<T: Debug>(read: Report<T>, decoded: Report<T>) -> Result<(), String> {
    let Ok(decoded) = decoded else {
        return Ok(());
    };
    let (read, decoded) = (format!("{read:?}"), format!("Ok({decoded:?})"));
    if read == decoded {
        return Ok(());
    }
    Err(format!("read as {read}, decoded as {decoded}"))
}

fn read_logs(report: &[u8]) -> Report<TcpAccessLog> {
    let mut logs = Vec::new();
    access_logs(report, |entry| logs.push(entry))?;
    Ok((node_id(report)?, logs))
}

fn read_metrics(report: &[u8]) -> Report<MetricFamily> {
    let families = metric_families(report)?;
    Ok((node_id(report)?, families))
}

fn decoded_logs(report: &[u8]) -> Report<TcpAccessLog> {
    framed(report, &DYNAMIC_PARAMETERS)?;
    framed(report, &FILTER_STATE_OBJECTS)?;
    framed(report, &CUSTOM_TAGS)?;
    let message = AccessLogs::decode(report)?;
    let entries = message.tcp_logs.unwrap_or_default().log_entry;
    let node = message.identifier.and_then(|identifier| identifier.node);
    Ok((id(node), entries.into_iter().map(log).collect()))
}

fn decoded_metrics(report: &[u8]) -> Report<MetricFamily> {
    framed(report, &DYNAMIC_PARAMETERS)?;
    let message = StreamMetricsMessage::decode(report)?;
    let node = message.identifier.and_then(|identifier| identifier.node);
    let families = message.envoy_metrics.into_iter().map(family);
    let telling = families.filter(|family| !family.samples.is_empty());
    Ok((id(node), telling.collect()))
}

/// prost reads a field with the number of a map as an entry of the map, also with a wrong wire
/// type. Such a field is no entry, and its report does not decode.
fn framed(message: &[u8], path: &[u32]) -> Result<(), DecodeError> {
    let Some((tag, path)) = path.split_first() else {
        return Ok(());
    };
    for_each_field(message, *tag, |piece| framed(piece, path))
}

/// The tags of the maps in a report, from the outermost message inwards.
const DYNAMIC_PARAMETERS: [u32; 3] = [1, 1, 12];
const FILTER_STATE_OBJECTS: [u32; 4] = [3, 1, 1, 21];
const CUSTOM_TAGS: [u32; 4] = [3, 1, 1, 22];

fn id(node: Option<Node>) -> String {
    node.unwrap_or_default().id
}

fn log(entry: TcpAccessLogEntry) -> TcpAccessLog {
    let common = entry.common_properties.unwrap_or_default();
    let connection = entry.connection_properties.unwrap_or_default();
    let flags = common.response_flags.unwrap_or_default();
    TcpAccessLog {
        kind: access_log::kind(common.access_log_type),
        stream_id: common.stream_id,
        upstream_cluster: common.upstream_cluster,
        upstream_address: common.upstream_remote_address.and_then(access_log::socket),
        upstream_local_address: common.upstream_local_address.and_then(access_log::socket),
        downstream_address: common
            .downstream_remote_address
            .and_then(access_log::socket),
        received_bytes: connection.received_bytes,
        sent_bytes: connection.sent_bytes,
        duration: common.duration.and_then(access_log::duration),
        attempts: common.upstream_request_attempt_count,
        flags: access_log::flags(&flags),
        failure: common.upstream_transport_failure_reason,
    }
}

fn family(family: prometheus::MetricFamily) -> MetricFamily {
    MetricFamily {
        kind: metrics::kind(family.r#type()),
        name: family.name.unwrap_or_default(),
        samples: family.metric.into_iter().filter_map(sample).collect(),
    }
}

fn sample(metric: prometheus::Metric) -> Option<MetricSample> {
    let counter = metric.counter.unwrap_or_default().value;
    let gauge = metric.gauge.unwrap_or_default().value;
    let untyped = metric.untyped.unwrap_or_default().value;
    let single = counter.or(gauge).or(untyped).map(|value| (value, 1));
    let summary = metric.summary.unwrap_or_default();
    let summary = summary.sample_sum.zip(summary.sample_count);
    let histogram = metric.histogram.unwrap_or_default();
    let histogram = histogram.sample_sum.zip(histogram.sample_count);
    let (value, count) = single.or(summary).or(histogram)?;
    let labels = metric.label.into_iter();
    let labels = labels.filter_map(|label| label.name.zip(label.value));
    let said = |(name, value): &(String, String)| !name.is_empty() && !value.is_empty();
    Some(MetricSample {
        labels: labels.filter(said).collect(),
        value,
        count,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a fuzzer has found worth keeping.
    #[test]
    fn every_report_of_the_corpus_is_read_as_it_decodes() {
        let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/report");
        let mut read = 0;
        for entry in std::fs::read_dir(corpus).unwrap() {
            let path = entry.unwrap().path();
            let checked = check(&std::fs::read(&path).unwrap());
            assert!(checked.is_ok(), "{}: {checked:?}", path.display());
            read += 1;
        }
        assert!(read > 0);
    }
}
