//! The sessions of one sidecar, from its access-log entries and its flushes of statistics; pure.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use pointsman_catalog::{DatabaseName, Role};
use pointsman_cutover::ports::Monotonic;

use super::{
    probe::{Probe, ProbeResult},
    report::{Connection, ConnectionState, RouteKey, Statistics},
    route::{EndpointUsage, RouteTracker, RouteUsage},
};

/// Whether a sidecar's numbers are of now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Freshness {
    /// It reports; the numbers are at most a second old.
    Fresh,
    /// It has not reported for this long: the numbers are unknown.
    Silent(Duration),
}

/// The numbers of one sidecar, and their age.
#[derive(Clone, Debug)]
pub(crate) struct NodeUsage {
    pub(crate) freshness: Freshness,
    /// As last reported, also if that is long ago.
    pub(crate) routes: BTreeMap<RouteKey, RouteUsage>,
    /// Sessions and routes that were not counted because the limits of one sidecar were reached.
    pub(crate) left_out: u64,
}

impl NodeUsage {
    /// Why the numbers are unknown; `None` while they are known.
    pub(crate) fn unknown(&self) -> Option<String> {
        match self.freshness {
            Freshness::Fresh => None,
            Freshness::Silent(silent) => {
                Some(format!("it has not reported for {} s", silent.as_secs()))
            }
        }
    }

    pub(crate) fn route(&self, database: &DatabaseName, role: Role) -> Option<&RouteUsage> {
        let database = database.clone();
        self.routes.get(&RouteKey { database, role })
    }
}

/// Tracks the sessions of one sidecar.
#[derive(Debug)]
pub(super) struct NodeTracker {
    /// Open sessions, by the id of their connection.
    sessions: HashMap<u64, Session>,
    routes: BTreeMap<Arc<RouteKey>, RouteTracker>,
    probes: BTreeMap<DatabaseName, Probe>,
    uptime: u64,
    /// When it last sent statistics.
    last_report: Option<Monotonic>,
    /// One of its streams has ended after that.
    stream_ended: bool,
    /// When stale sessions were last dropped; at first, when the tracker was made.
    last_sweep: Monotonic,
    left_out: u64,
}

#[derive(Debug)]
struct Session {
    route: Arc<RouteKey>,
    endpoint: SocketAddr,
    last_entry: Monotonic,
    received_bytes: u64,
    sent_bytes: u64,
}

impl NodeTracker {
    pub(super) fn new(now: Monotonic) -> Self {
        Self {
            sessions: HashMap::new(),
            routes: BTreeMap::new(),
            probes: BTreeMap::new(),
            uptime: 0,
            last_report: None,
            stream_ended: false,
            last_sweep: now,
            left_out: 0,
        }
    }

    /// Takes one access-log entry.
    pub(super) fn connection(&mut self, connection: &Connection, now: Monotonic) {
        let known = self.sessions.contains_key(&connection.id);
        match &connection.state {
            ConnectionState::Open(endpoint) => self.open(connection, *endpoint, now),
            ConnectionState::OpenOrTrying(endpoint, _) if known => {
                self.open(connection, *endpoint, now);
            }
            ConnectionState::OpenOrTrying(endpoint, reason) => {
                self.failed(&connection.route, *endpoint, reason);
            }
            ConnectionState::Ended { lasted, .. } if known => {
                self.count_bytes(connection, now);
                self.forget(connection.id);
                if let (Some(lasted), Some((_, route))) = (lasted, self.route(&connection.route)) {
                    route.session_lasted(*lasted);
                }
            }
            ConnectionState::Ended {
                endpoint: Some(endpoint),
                failure: Some(reason),
                ..
            } => self.failed(&connection.route, *endpoint, reason),
            ConnectionState::Ended { .. } => {}
        }
    }

    /// Takes one flush of statistics. `held` says whether a database is in a hold, or was a
    /// moment ago.
    pub(super) fn statistics(
        &mut self,
        found: Statistics,
        held: impl Fn(&DatabaseName) -> bool,
        now: Monotonic,
    ) {
        self.last_report = Some(now);
        self.stream_ended = false;
        let uptime = found.uptime.unwrap_or_default();
        if uptime < self.uptime {
            // The sidecar was restarted: none of its former sessions is left.
            self.sessions.clear();
            self.routes
                .values_mut()
                .for_each(RouteTracker::forget_sessions);
        }
        self.uptime = uptime;
        self.sweep(now);
        // A database that no longer exists for it is in no flush.
        self.routes
            .retain(|route, _| found.routes.contains_key(&**route));
        self.probes
            .retain(|name, _| found.probes.contains_key(name));
        for (key, numbers) in found.routes {
            let held = held(&key.database);
            if let Some((_, route)) = self.route(&key) {
                route.take(numbers, held, now);
            }
        }
        for (name, numbers) in found.probes.into_iter().take(MAX_ROUTES) {
            self.probes.entry(name).or_default().take(numbers, now);
        }
    }

    /// One of its streams has ended. It counts as silent until its next statistics.
    pub(super) fn stream_ended(&mut self) {
        self.stream_ended = true;
    }

    pub(super) fn freshness(&self, now: Monotonic) -> Freshness {
        match self.last_report {
            Some(heard) if !self.stream_ended && now.since(heard) <= SILENT => Freshness::Fresh,
            Some(heard) => Freshness::Silent(now.since(heard)),
            None => Freshness::Silent(now.since(self.last_sweep)),
        }
    }

    /// Whether it has been silent for so long that another sidecar may take its place.
    pub(super) fn is_forgotten(&self, now: Monotonic) -> bool {
        match self.freshness(now) {
            Freshness::Fresh => false,
            Freshness::Silent(silent) => silent > KEPT,
        }
    }

    pub(super) fn usage(&self, now: Monotonic) -> NodeUsage {
        NodeUsage {
            freshness: self.freshness(now),
            routes: self
                .routes
                .iter()
                .map(|(key, route)| (RouteKey::clone(key), route.usage()))
                .collect(),
            left_out: self.left_out,
        }
    }

    /// Like [`Self::usage`], of these databases alone.
    pub(super) fn usage_of(&self, databases: &[DatabaseName], now: Monotonic) -> NodeUsage {
        let keys = databases.iter().flat_map(|database| {
            [Role::Writer, Role::Reader].map(|role| RouteKey {
                database: database.clone(),
                role,
            })
        });
        NodeUsage {
            freshness: self.freshness(now),
            routes: keys
                .filter_map(|key| Some((key.clone(), self.routes.get(&key)?.usage())))
                .collect(),
            left_out: self.left_out,
        }
    }

    /// What it said of its tries of a database's probe after `since`.
    pub(super) fn probe_result(
        &self,
        database: &DatabaseName,
        since: Monotonic,
        now: Monotonic,
    ) -> Option<ProbeResult> {
        self.probes.get(database)?.after(since, now)
    }

    fn failed(&mut self, key: &RouteKey, endpoint: SocketAddr, reason: &str) {
        if let Some((_, route)) = self.route(key) {
            route.failed(endpoint, reason);
        }
    }

    fn open(&mut self, connection: &Connection, endpoint: SocketAddr, now: Monotonic) {
        if self.sessions.contains_key(&connection.id) {
            self.count_bytes(connection, now);
            return;
        }
        let room = self.sessions.len() < MAX_SESSIONS;
        let counted = self.route(&connection.route).and_then(|(key, route)| {
            if room {
                route.session_opened(endpoint, now)?;
            }
            room.then_some(key)
        });
        let Some(route) = counted else {
            self.left_out += 1;
            return;
        };
        let session = Session {
            route,
            endpoint,
            last_entry: now,
            received_bytes: 0,
            sent_bytes: 0,
        };
        self.sessions.insert(connection.id, session);
        self.count_bytes(connection, now);
    }

    /// Adds what was transferred since the entry before: each entry counts the bytes from the
    /// beginning of the connection.
    fn count_bytes(&mut self, connection: &Connection, now: Monotonic) {
        let Some(session) = self.sessions.get_mut(&connection.id) else {
            return;
        };
        session.last_entry = now;
        let received = connection
            .received_bytes
            .saturating_sub(session.received_bytes);
        let sent = connection.sent_bytes.saturating_sub(session.sent_bytes);
        session.received_bytes += received;
        session.sent_bytes += sent;
        let route = self.routes.get_mut(&session.route);
        let endpoint = route.and_then(|route| route.endpoint(session.endpoint));
        if let Some(EndpointUsage {
            received_bytes,
            sent_bytes,
            ..
        }) = endpoint
        {
            *received_bytes += received;
            *sent_bytes += sent;
        }
    }

    fn forget(&mut self, id: u64) {
        let Some(session) = self.sessions.remove(&id) else {
            return;
        };
        if let Some(route) = self.routes.get_mut(&session.route) {
            route.session_ended(session.endpoint);
        }
    }

    /// Drops sessions that no entry has mentioned for a while: the entry of their end was lost.
    fn sweep(&mut self, now: Monotonic) {
        if now.since(self.last_sweep) < SWEEP {
            return;
        }
        self.last_sweep = now;
        let stale: Vec<_> = self
            .sessions
            .iter()
            .filter(|(_, session)| now.since(session.last_entry) > UNSEEN)
            .map(|(&id, _)| id)
            .collect();
        for id in stale {
            self.forget(id);
        }
    }

    /// The route, if there is room for it.
    fn route(&mut self, key: &RouteKey) -> Option<(Arc<RouteKey>, &mut RouteTracker)> {
        if !self.routes.contains_key(key) {
            if self.routes.len() >= MAX_ROUTES {
                self.left_out += 1;
                return None;
            }
            self.routes
                .insert(Arc::new(key.clone()), RouteTracker::default());
        }
        let shared = Arc::clone(self.routes.get_key_value(key)?.0);
        Some((shared, self.routes.get_mut(key)?))
    }
}

/// How long a silent sidecar's last report is kept when there is no room for another.
const KEPT: Duration = Duration::from_secs(600);

/// Statistics come twice a second; a busy machine may be late.
const SILENT: Duration = Duration::from_secs(3);

/// An open session is in an entry every 5 s; two entries may be lost.
const UNSEEN: Duration = Duration::from_secs(16);

const SWEEP: Duration = Duration::from_secs(2);

/// The limit of one sidecar: twice the connections that a bootstrap allows by default.
const MAX_SESSIONS: usize = 20_000;

/// The limit of one sidecar: both routes of 10,000 databases.
const MAX_ROUTES: usize = 20_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::report::{ProbeStatistics, RouteStatistics};

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
}
