//! One route on one sidecar.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use pointsman_cutover::ports::Monotonic;

use super::report::RouteStatistics;

/// The numbers of one route on one sidecar.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct RouteUsage {
    /// Connections of applications that are connected to a server.
    pub(crate) sessions: u64,
    /// Connections of applications that wait for a server: in a hold, or while it is tried.
    pub(crate) parked: u64,
    /// Attempts to reach a server that failed, holds apart, since the sidecar began to report.
    pub(crate) connect_failures: u64,
    /// The endpoint of the last failed attempt, and the sidecar's reason.
    pub(crate) last_failure: Option<(SocketAddr, String)>,
    /// How long the newest connections took to be made, on average.
    pub(crate) connect_time: Option<Duration>,
    /// How long ended sessions had lasted, on average.
    pub(crate) session_time: Option<Duration>,
    pub(crate) endpoints: BTreeMap<SocketAddr, EndpointUsage>,
    /// Sessions whose endpoint no access-log entry has named yet.
    pub(crate) unplaced: u64,
}

/// One endpoint of a route, as the access log tells it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct EndpointUsage {
    pub(crate) sessions: u64,
    pub(crate) received_bytes: u64,
    pub(crate) sent_bytes: u64,
}

/// Tracks the numbers of one route.
#[derive(Debug, Default)]
pub(super) struct RouteTracker {
    gauges: RouteStatistics,
    connect_failures: u64,
    last_failure: Option<(SocketAddr, String)>,
    connect_time: Option<Duration>,
    ended: u32,
    ended_time: Duration,
    endpoints: BTreeMap<SocketAddr, EndpointUsage>,
    /// Sessions that the gauges of the last flush counted and no entry had named.
    missing: u64,
    /// Those of them whose entry came soon after the flush.
    late: u64,
    last_flush: Option<Monotonic>,
    unplaced: u64,
}

impl RouteTracker {
    /// Takes one flush. While `held`, connect failures are retries of the hold and do not count.
    pub(super) fn take(&mut self, found: RouteStatistics, held: bool, now: Monotonic) {
        if !held {
            self.connect_failures += found.connect_failures;
        }
        if found.connects > 0 {
            let millis = found.connect_ms / precise(found.connects);
            self.connect_time = Duration::try_from_secs_f64(millis / 1000.0).ok();
        }
        self.gauges = found;
        let missing = self.established().saturating_sub(self.placed());
        // An entry comes up to a tenth of a second after what it tells of, so what it told of
        // was not missing.
        self.unplaced = self.missing.saturating_sub(self.late).min(missing);
        self.missing = missing;
        self.late = 0;
        self.last_flush = Some(now);
    }

    /// The endpoint, if there is room to count it.
    pub(super) fn endpoint(&mut self, at: SocketAddr) -> Option<&mut EndpointUsage> {
        if !self.endpoints.contains_key(&at) && self.endpoints.len() >= MAX_ENDPOINTS {
            let idle = self.endpoints.iter().find(|(_, usage)| usage.sessions == 0);
            let idle = *idle?.0;
            self.endpoints.remove(&idle);
        }
        Some(self.endpoints.entry(at).or_default())
    }

    /// Counts a session, if there is room for its endpoint.
    pub(super) fn session_opened(&mut self, at: SocketAddr, now: Monotonic) -> Option<()> {
        self.endpoint(at)?.sessions += 1;
        let last_flush = self.last_flush;
        if last_flush.is_some_and(|at| now.since(at) <= ENTRY_DELAY) {
            self.late += 1;
        }
        Some(())
    }

    pub(super) fn session_ended(&mut self, at: SocketAddr) {
        if let Some(endpoint) = self.endpoints.get_mut(&at) {
            endpoint.sessions = endpoint.sessions.saturating_sub(1);
        }
    }

    pub(super) fn session_lasted(&mut self, lasted: Duration) {
        self.ended = self.ended.saturating_add(1);
        self.ended_time = self.ended_time.saturating_add(lasted);
    }

    pub(super) fn failed(&mut self, at: SocketAddr, reason: &str) {
        let end = reason.floor_char_boundary(MAX_REASON);
        self.last_failure = Some((at, reason[..end].to_owned()));
    }

    pub(super) fn forget_sessions(&mut self) {
        self.endpoints.clear();
        self.missing = 0;
        self.unplaced = 0;
    }

    pub(super) fn usage(&self) -> RouteUsage {
        RouteUsage {
            sessions: self.established(),
            parked: self.gauges.downstream.saturating_sub(self.established()),
            connect_failures: self.connect_failures,
            last_failure: self.last_failure.clone(),
            connect_time: self.connect_time,
            session_time: (self.ended > 0).then(|| self.ended_time / self.ended),
            endpoints: self.endpoints.clone(),
            unplaced: self.unplaced,
        }
    }

    fn established(&self) -> u64 {
        self.gauges.upstream.saturating_sub(self.gauges.connecting)
    }

    fn placed(&self) -> u64 {
        self.endpoints.values().map(|usage| usage.sessions).sum()
    }
}

#[expect(clippy::cast_precision_loss, reason = "a mean in milliseconds")]
fn precise(count: u64) -> f64 {
    count as f64
}

/// How long an access-log entry may stay in the sidecar and on the way.
const ENTRY_DELAY: Duration = Duration::from_millis(250);

/// A route has a handful of endpoints; names that resolve differently each time would add up.
const MAX_ENDPOINTS: usize = 64;

/// The maximal length of a reason that is kept, in bytes.
const MAX_REASON: usize = 256;
