use super::*;
use crate::telemetry::{
    report::{ProbeStatistics, RouteStatistics},
    route::RouteUsage,
};

fn orders() -> RouteKey {
    RouteKey {
        database: DatabaseName::new("orders").unwrap(),
        role: Role::Writer,
    }
}

fn blue() -> SocketAddr {
    ([127, 0, 0, 1], 5432).into()
}

fn entry(id: u64, state: ConnectionState) -> Connection {
    Connection {
        id,
        route: orders(),
        socket: Some(([127, 0, 0, 1], 40_000).into()),
        state,
        received_bytes: 0,
        sent_bytes: 0,
    }
}

fn ended(failure: Option<&str>) -> ConnectionState {
    ConnectionState::Ended {
        endpoint: Some(blue()),
        failure: failure.map(ToOwned::to_owned),
        lasted: Some(Duration::from_secs(4)),
    }
}

fn flush(uptime: u64, numbers: RouteStatistics) -> Statistics {
    Statistics {
        uptime: Some(uptime),
        routes: [(orders(), numbers)].into(),
        probes: [(orders().database, ProbeStatistics::default())].into(),
    }
}

fn gauges(downstream: u64, upstream: u64, connecting: u64) -> RouteStatistics {
    RouteStatistics {
        downstream,
        upstream,
        connecting,
        ..RouteStatistics::default()
    }
}

fn usage(node: &NodeTracker, now: Monotonic) -> RouteUsage {
    node.usage(now).routes[&orders()].clone()
}

/// A sidecar and its clock, in seconds.
fn node() -> (NodeTracker, impl Fn(f64) -> Monotonic) {
    let at = |seconds| Monotonic::new(Duration::from_secs_f64(seconds));
    (NodeTracker::new(at(0.0)), at)
}

#[test]
fn sessions_are_counted_by_endpoint_and_parked_clients_are_the_rest() {
    let (mut node, at) = node();
    for id in 0..7 {
        node.connection(&entry(id, ConnectionState::Open(blue())), at(0.1));
    }
    node.statistics(flush(1, gauges(11, 8, 1)), |_| false, at(0.5));
    let found = usage(&node, at(0.5));
    assert_eq!((found.sessions, found.parked), (7, 4));
    assert_eq!(found.endpoints[&blue()].sessions, 7);
    node.connection(&entry(3, ended(None)), at(0.6));
    let found = usage(&node, at(0.6));
    assert_eq!(found.endpoints[&blue()].sessions, 6);
    assert_eq!(found.session_time, Some(Duration::from_secs(4)));
}

#[test]
fn a_silent_sidecars_numbers_are_unknown_and_not_zero() {
    let (mut node, at) = node();
    node.statistics(flush(1, gauges(5, 5, 0)), |_| false, at(1.0));
    assert_eq!(node.freshness(at(3.9)), Freshness::Fresh);
    let silent = Freshness::Silent(at(4.1).since(at(1.0)));
    assert_eq!(node.freshness(at(4.1)), silent);
    assert_eq!(usage(&node, at(9.0)).sessions, 5);
}

#[test]
fn a_sidecar_whose_stream_ended_is_unknown_until_it_reports_again() {
    let (mut node, at) = node();
    node.statistics(flush(1, gauges(0, 0, 0)), |_| false, at(1.0));
    node.stream_ended();
    let silent = Freshness::Silent(at(1.1).since(at(1.0)));
    assert_eq!(node.freshness(at(1.1)), silent);
    node.statistics(flush(2, gauges(0, 0, 0)), |_| false, at(1.5));
    assert_eq!(node.freshness(at(1.6)), Freshness::Fresh);
}

#[test]
fn a_session_whose_end_was_lost_is_dropped() {
    let (mut node, at) = node();
    node.connection(&entry(1, ConnectionState::Open(blue())), at(0.0));
    node.connection(&entry(2, ConnectionState::Open(blue())), at(0.0));
    node.connection(&entry(2, ConnectionState::Open(blue())), at(15.0));
    node.statistics(flush(20, gauges(1, 1, 0)), |_| false, at(20.0));
    assert_eq!(usage(&node, at(20.0)).endpoints[&blue()].sessions, 1);
}

#[test]
fn a_restarted_sidecar_has_none_of_its_former_sessions() {
    let (mut node, at) = node();
    node.statistics(flush(100, gauges(1, 1, 0)), |_| false, at(0.5));
    node.connection(&entry(1, ConnectionState::Open(blue())), at(0.6));
    node.statistics(flush(0, gauges(0, 0, 0)), |_| false, at(1.0));
    assert!(usage(&node, at(1.0)).endpoints.is_empty());
}

#[test]
fn statistics_without_an_uptime_end_no_session() {
    let (mut node, at) = node();
    node.statistics(flush(100, gauges(1, 1, 0)), |_| false, at(0.5));
    node.connection(&entry(1, ConnectionState::Open(blue())), at(0.6));
    let without = Statistics {
        uptime: None,
        ..flush(0, gauges(1, 1, 0))
    };
    node.statistics(without, |_| false, at(1.0));
    assert_eq!(usage(&node, at(1.0)).endpoints[&blue()].sessions, 1);
    node.statistics(flush(0, gauges(0, 0, 0)), |_| false, at(1.5));
    assert!(usage(&node, at(1.5)).endpoints.is_empty());
}

#[test]
fn sessions_older_than_the_control_plane_are_unplaced_until_they_are_told_of() {
    let (mut node, at) = node();
    node.statistics(flush(9, gauges(3, 3, 0)), |_| false, at(0.5));
    // It may only be that their entries are on the way.
    assert_eq!(usage(&node, at(0.5)).unplaced, 0);
    node.statistics(flush(9, gauges(3, 3, 0)), |_| false, at(1.0));
    assert_eq!(usage(&node, at(1.0)).unplaced, 3);
    for id in 0..3 {
        node.connection(&entry(id, ConnectionState::Open(blue())), at(4.0));
    }
    node.statistics(flush(13, gauges(3, 3, 0)), |_| false, at(4.5));
    assert_eq!(usage(&node, at(4.5)).unplaced, 0);
}

#[test]
fn a_session_whose_entry_is_on_the_way_is_not_missing() {
    let (mut node, at) = node();
    for second in 0..9 {
        let start = f64::from(second);
        node.statistics(flush(1, gauges(1, 1, 0)), |_| false, at(start));
        let id = u64::try_from(second).unwrap();
        node.connection(&entry(id, ConnectionState::Open(blue())), at(start + 0.1));
        node.connection(&entry(id, ended(None)), at(start + 0.6));
        assert_eq!(usage(&node, at(start + 0.6)).unplaced, 0, "{second}");
    }
}

#[test]
fn failures_of_a_hold_are_none() {
    let (mut node, at) = node();
    let failing = RouteStatistics {
        connect_failures: 40,
        ..gauges(2, 0, 0)
    };
    node.statistics(flush(1, failing), |_| true, at(0.5));
    assert_eq!(usage(&node, at(0.5)).connect_failures, 0);
    node.statistics(flush(1, failing), |_| false, at(1.0));
    let refused = "delayed connect error: Connection refused".to_owned();
    let trying = ConnectionState::OpenOrTrying(blue(), refused.clone());
    node.connection(&entry(1, trying), at(1.1));
    let found = usage(&node, at(1.2));
    assert_eq!(found.connect_failures, 40);
    assert_eq!(found.last_failure, Some((blue(), refused)));
    assert!(found.endpoints.is_empty());
}

#[test]
fn bytes_add_up_over_the_entries_of_a_connection() {
    let (mut node, at) = node();
    let bytes = |received_bytes, sent_bytes, state| Connection {
        received_bytes,
        sent_bytes,
        ..entry(1, state)
    };
    node.connection(&bytes(0, 0, ConnectionState::Open(blue())), at(0.0));
    node.connection(&bytes(10, 70, ConnectionState::Open(blue())), at(5.0));
    node.connection(&bytes(15, 100, ended(None)), at(6.0));
    let found = usage(&node, at(6.0)).endpoints[&blue()];
    assert_eq!((found.received_bytes, found.sent_bytes), (15, 100));
}

#[test]
fn what_does_not_fit_is_counted_and_not_kept() {
    let (mut node, at) = node();
    let more = u64::try_from(MAX_SESSIONS).unwrap() + 5;
    for id in 0..more {
        node.connection(&entry(id, ConnectionState::Open(blue())), at(0.0));
    }
    assert_eq!(node.sessions.len(), MAX_SESSIONS);
    assert_eq!(node.usage(at(0.0)).left_out, 5);
}

#[test]
fn a_database_that_was_taken_away_is_forgotten() {
    let (mut node, at) = node();
    node.statistics(flush(1, gauges(1, 1, 0)), |_| false, at(0.5));
    let without = Statistics {
        uptime: Some(2),
        ..Statistics::default()
    };
    node.statistics(without, |_| false, at(1.0));
    assert!(node.usage(at(1.0)).routes.is_empty());
}
