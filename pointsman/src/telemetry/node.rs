//! The sessions of one sidecar, from its access-log entries and its flushes of statistics; pure.

mod session;
mod usage;

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
    route::{EndpointUsage, RouteTracker},
};
use session::Session;
pub(crate) use usage::{Freshness, LastSessions, NodeUsage};

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
        if let Some(uptime) = found.uptime {
            self.ran_for(uptime);
        }
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

    /// Takes the uptime of the process.
    fn ran_for(&mut self, uptime: u64) {
        if uptime < self.uptime {
            // The sidecar was restarted: none of its former sessions is left.
            self.sessions.clear();
            self.routes
                .values_mut()
                .for_each(RouteTracker::forget_sessions);
        }
        self.uptime = uptime;
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

    /// The sessions of its last report, however old that is.
    pub(super) fn last_sessions(&self) -> LastSessions {
        let routes = || self.routes.values().map(RouteTracker::usage);
        let sessions = self.sessions.values();
        LastSessions {
            count: routes().map(|route| route.sessions).sum(),
            untold: self.left_out + routes().map(|route| route.unplaced).sum::<u64>(),
            known: sessions
                .map(|session| (session.endpoint, session.socket))
                .collect(),
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
        let session = Session::new(route, endpoint, now);
        self.sessions.insert(connection.id, session);
        self.count_bytes(connection, now);
    }

    /// Adds what was transferred since the entry before: each entry counts the bytes from the
    /// beginning of the connection.
    fn count_bytes(&mut self, connection: &Connection, now: Monotonic) {
        let Some(session) = self.sessions.get_mut(&connection.id) else {
            return;
        };
        let (received, sent) = session.take(connection, now);
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
mod tests;
