use std::sync::Arc;

use envoy_types::pb::{
    envoy::{
        data::accesslog::v3::{AccessLogCommon, AccessLogType, TcpAccessLogEntry},
        service::{
            accesslog::v3::{
                StreamAccessLogsMessage, access_log_service_client::AccessLogServiceClient,
                stream_access_logs_message as log,
            },
            metrics::v3::{
                StreamMetricsMessage, metrics_service_client::MetricsServiceClient,
                stream_metrics_message as metrics,
            },
        },
    },
    io::prometheus::client as prometheus,
};
use pointsman_xds::{AccessLogKind, MetricFamily, NodeId, TcpAccessLog, TelemetrySink};
use tokio::sync::mpsc;

use crate::control_plane::{TestControlPlane, node, soon};

#[derive(Debug, PartialEq)]
enum Report {
    AccessLog(String, AccessLogKind),
    Metrics(String, Vec<MetricFamily>),
    Closed(String),
}

#[derive(Debug)]
struct Sink(mpsc::UnboundedSender<Report>);

impl TelemetrySink for Sink {
    fn access_log(&self, node: &NodeId, entry: TcpAccessLog) {
        let report = Report::AccessLog(node.to_string(), entry.kind);
        self.0.send(report).unwrap();
    }

    fn metrics(&self, node: &NodeId, families: Vec<MetricFamily>) {
        self.0
            .send(Report::Metrics(node.to_string(), families))
            .unwrap();
    }

    fn closed(&self, node: &NodeId) {
        self.0.send(Report::Closed(node.to_string())).unwrap();
    }
}

#[tokio::test]
async fn access_logs_reach_the_sink_also_those_after_the_first_message() {
    let (sink, mut reports) = mpsc::unbounded_channel();
    let server = TestControlPlane::open(Arc::new(Sink(sink))).await;
    let message = |identifier, kind: AccessLogType| StreamAccessLogsMessage {
        identifier,
        log_entries: Some(log::LogEntries::TcpLogs(log::TcpAccessLogEntries {
            log_entry: vec![TcpAccessLogEntry {
                common_properties: Some(AccessLogCommon {
                    access_log_type: kind as i32,
                    ..Default::default()
                }),
                ..Default::default()
            }],
        })),
    };
    let identifier = log::Identifier {
        node: node(),
        log_name: String::new(),
    };
    let messages = [
        message(Some(identifier), AccessLogType::TcpUpstreamConnected),
        message(None, AccessLogType::TcpConnectionEnd),
    ];
    let mut client = AccessLogServiceClient::new(server.channel().await);
    soon(client.stream_access_logs(tokio_stream::iter(messages)))
        .await
        .unwrap();
    let mut told = Vec::new();
    while let Ok(report) = reports.try_recv() {
        told.push(report);
    }
    let sidecar = || "sidecar".to_owned();
    assert_eq!(
        told,
        [
            Report::AccessLog(sidecar(), AccessLogKind::UpstreamConnected),
            Report::AccessLog(sidecar(), AccessLogKind::Ended),
            Report::Closed(sidecar()),
        ]
    );
}

#[tokio::test]
async fn metrics_reach_the_sink() {
    let (sink, mut reports) = mpsc::unbounded_channel();
    let server = TestControlPlane::open(Arc::new(Sink(sink))).await;
    let gauge = prometheus::Metric {
        gauge: Some(prometheus::Gauge { value: Some(3.0) }),
        ..Default::default()
    };
    let message = StreamMetricsMessage {
        identifier: Some(metrics::Identifier { node: node() }),
        envoy_metrics: vec![prometheus::MetricFamily {
            name: Some("cluster.upstream_cx_active".to_owned()),
            r#type: Some(prometheus::MetricType::Gauge as i32),
            metric: vec![gauge],
            ..Default::default()
        }],
    };
    let mut client = MetricsServiceClient::new(server.channel().await);
    soon(client.stream_metrics(tokio_stream::iter([message])))
        .await
        .unwrap();
    let Some(Report::Metrics(node, families)) = soon(reports.recv()).await else {
        panic!("no metrics came");
    };
    assert_eq!(node, "sidecar");
    assert_eq!(families[0].name, "cluster.upstream_cx_active");
    assert!((families[0].samples[0].value - 3.0).abs() < f64::EPSILON);
}
