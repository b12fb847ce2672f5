use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3::Node;
use pointsman_xds::NoTelemetry;
use prost::Message as _;

use crate::{
    ALONE,
    control_plane::{TestControlPlane, node},
    peak,
    wire::{ACCESS_LOGS, DATA, END_HEADERS, END_STREAM, HEADERS, METRICS, Wire, field, head},
};

/// A report with its entries as they travel.
#[derive(Clone, PartialEq, prost::Message)]
struct Report {
    #[prost(message, optional, tag = "1")]
    identifier: Option<Identifier>,
    /// A metric family, or the entries of an HTTP log.
    #[prost(bytes = "vec", repeated, tag = "2")]
    second: Vec<Vec<u8>>,
    /// The entries of a TCP log.
    #[prost(bytes = "vec", repeated, tag = "3")]
    third: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Identifier {
    #[prost(message, optional, tag = "1")]
    node: Option<Node>,
}

/// A family with one metric as it travels.
#[derive(Clone, PartialEq, prost::Message)]
struct Family {
    #[prost(bytes = "vec", tag = "4")]
    metric: Vec<u8>,
}

/// As many messages without content as fit, all under one tag.
fn empty(tag: u8) -> Vec<u8> {
    [tag << 3 | 2, 0].repeat(SIZE / 2)
}

/// As many families as fit, each with one sample of one short label.
fn small() -> Vec<Vec<u8>> {
    let gauge = [&[0x12, 9, 9][..], &1_f64.to_le_bytes()].concat();
    let family = [&[0x22, 19][..], LABEL, &gauge].concat();
    vec![family; SIZE / 23]
}

/// One sample of as many short labels as fit.
fn labelled() -> Vec<Vec<u8>> {
    let mut metric = vec![0x12, 9, 9, 0, 0, 0, 0, 0, 0, 0, 0];
    metric.extend(LABEL.repeat(SIZE / LABEL.len()));
    vec![Family { metric }.encode_to_vec()]
}

/// Sends a report and ends the stream; gives its status.
async fn report(wire: &mut Wire, stream: u32, path: &str, report: Report) -> String {
    wire.frame(HEADERS, END_HEADERS, stream, &head(path)).await;
    let identifier = Some(Identifier { node: node() });
    let report = Report {
        identifier,
        ..report
    };
    wire.long_message(stream, &report).await;
    wire.frame(DATA, END_STREAM, stream, &[]).await;
    loop {
        let ended = wire.read_kind(HEADERS).await.unwrap();
        if let Some(status) = field(&ended, "grpc-status") {
            return status;
        }
    }
}

#[tokio::test]
async fn a_report_costs_a_small_multiple_of_its_bytes() {
    let _alone = ALONE.lock().await;
    let server = TestControlPlane::open(Arc::new(NoTelemetry)).await;
    let mut wire = Wire::greet(&server).await;
    let families = |second| Report {
        second,
        ..Report::default()
    };
    let tcp_log = Report {
        third: vec![empty(1)],
        ..Report::default()
    };
    let hostile = [
        (METRICS, families(vec![empty(4)])),
        (METRICS, families(vec![Vec::new(); SIZE / 2])),
        (METRICS, families(small())),
        (METRICS, families(labelled())),
        (ACCESS_LOGS, families(vec![empty(1)])),
        (ACCESS_LOGS, tcp_log),
    ];
    let before = peak();
    for ((path, entries), stream) in hostile.into_iter().zip((1..).step_by(2)) {
        assert_eq!(report(&mut wire, stream, path, entries).await, "0");
    }
    let grown = peak().saturating_sub(before);
    assert!(grown < 32 * SIZE, "{grown} bytes");
}

/// A label of a metric: `a` is `b`.
const LABEL: &[u8] = &[10, 6, 10, 1, b'a', 18, 1, b'b'];
/// Of one report, in bytes.
const SIZE: usize = 1 << 20;
