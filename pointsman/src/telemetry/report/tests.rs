use pointsman_xds::MetricKind;

use super::*;

fn entry(kind: AccessLogKind) -> TcpAccessLog {
    TcpAccessLog {
        kind,
        stream_id: "6980a527".to_owned(),
        upstream_cluster: "writer.orders".to_owned(),
        upstream_address: Some(([127, 0, 0, 1], 5432).into()),
        upstream_local_address: None,
        downstream_address: None,
        received_bytes: 0,
        sent_bytes: 0,
        duration: None,
        attempts: 1,
        flags: Vec::new(),
        failure: String::new(),
    }
}

fn state(entry: TcpAccessLog) -> Option<ConnectionState> {
    connection(entry).map(|connection| connection.state)
}

#[test]
fn a_parked_connection_is_no_session() {
    let parked = TcpAccessLog {
        upstream_address: None,
        attempts: 175,
        flags: vec!["UF"],
        failure: "immediate connect error: Not a directory|remote \
                  address:/dev/null/pointsman-hold"
            .to_owned(),
        ..entry(AccessLogKind::Periodic)
    };
    assert_eq!(state(parked.clone()), None);
    let ended = TcpAccessLog {
        kind: AccessLogKind::Ended,
        ..parked
    };
    let Some(ConnectionState::Ended { failure: None, .. }) = state(ended) else {
        panic!("a hold is no failure");
    };
}

#[test]
fn an_address_on_a_failed_attempt_is_no_session() {
    let trying = TcpAccessLog {
        flags: vec!["UF"],
        failure: "delayed connect error: Connection refused".to_owned(),
        ..entry(AccessLogKind::Periodic)
    };
    let Some(ConnectionState::OpenOrTrying(_, reason)) = state(trying.clone()) else {
        panic!("it is not told apart");
    };
    assert_eq!(reason, "delayed connect error: Connection refused");
    // A session that was parked once keeps the flag for its life.
    let spoke = TcpAccessLog {
        sent_bytes: 1,
        ..trying
    };
    assert!(matches!(state(spoke), Some(ConnectionState::Open(_))));
}

#[test]
fn statistics_are_found_under_the_names_that_envoy_sends() {
    let sample = |name: &str, labels: &[(&str, &str)], value: f64| MetricFamily {
        name: name.to_owned(),
        kind: MetricKind::Gauge,
        samples: vec![MetricSample {
            labels: labels
                .iter()
                .map(|&(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            value,
            count: 2,
        }],
    };
    let writer = [("envoy.cluster_name", "writer/shop/orders")];
    let listener = [("envoy.listener_address", "writer/shop/orders")];
    let probe = [("envoy.cluster_name", "probe/shop/orders")];
    let found = statistics(vec![
        sample("server.uptime", &[], 12.0),
        sample("listener.downstream_cx_active", &listener, 10.0),
        sample("listener.downstream_cx_total", &listener, 99.0),
        sample("cluster.upstream_cx_active", &writer, 8.0),
        sample("cluster.upstream_rq_pending_active", &writer, 1.0),
        sample("cluster.upstream_cx_connect_fail", &writer, 40.0),
        sample("cluster.upstream_cx_connect_ms", &writer, 3.0),
        sample(
            "cluster.upstream_cx_active",
            &[("envoy.cluster_name", "xds")],
            3.0,
        ),
        sample("cluster.membership_total", &probe, 1.0),
        sample("cluster.health_check.failure", &probe, 1.0),
    ]);
    let database = DatabaseName::new("shop.orders").unwrap();
    let writer = RouteKey {
        database: database.clone(),
        role: Role::Writer,
    };
    let route = RouteStatistics {
        downstream: 10,
        upstream: 8,
        connecting: 1,
        connect_failures: 40,
        connects: 2,
        connect_ms: 3.0,
    };
    let probe = ProbeStatistics {
        endpoints: 1,
        failures: 1,
        ..ProbeStatistics::default()
    };
    let expected = Statistics {
        uptime: Some(12),
        routes: [(writer, route)].into(),
        probes: [(database, probe)].into(),
    };
    assert_eq!(found.unwrap(), expected);
}

#[test]
fn what_is_no_count_is_not_taken_for_none() {
    let flush = |name: &str, value: f64| {
        let label = ("envoy.cluster_name".to_owned(), "writer/orders".to_owned());
        let family = MetricFamily {
            name: name.to_owned(),
            kind: MetricKind::Gauge,
            samples: vec![MetricSample {
                labels: vec![label],
                value,
                count: 1,
            }],
        };
        statistics(vec![family])
    };
    let active = "cluster.upstream_cx_active";
    for value in [-1.0, f64::NAN, f64::INFINITY, 1e30] {
        let refused = flush(active, value).unwrap_err().to_string();
        assert!(refused.contains(active), "{refused}");
    }
    flush(active, 0.0).unwrap();
    flush("cluster.some_other", -1.0).unwrap();
}
