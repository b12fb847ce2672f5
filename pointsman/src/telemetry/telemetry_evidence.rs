use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use pointsman_catalog::{DatabaseName, NodeId, ServerName};
use pointsman_cutover::ports::{Clock, Evidence, Monotonic, Reached, SessionsOn};
use pointsman_envoy_config::ACCESS_LOG_DELAY;

use super::{node::NodeUsage, probe::ProbeResult, session_tracker::SessionTracker};
use crate::publish::{AddressBook, FleetView, ProbeSchedule, Registry};

/// What sidecars report, in the engine's terms: the tracked sessions, joined with the registry
/// and with the addresses of servers.
#[derive(Debug)]
pub(crate) struct TelemetryEvidence {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) tracker: Arc<SessionTracker>,
    pub(crate) view: Arc<FleetView>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) addresses: Arc<AddressBook>,
    pub(crate) probes: Arc<ProbeSchedule>,
}

/// By which probe a sidecar tries, and since when; or why it could not be told.
struct Asked {
    database: DatabaseName,
    since: Result<Monotonic, String>,
}

/// What a sidecar has said of its tries so far.
enum Answer {
    Final(Reached),
    /// Nothing yet, and why.
    Pending(String),
}

impl TelemetryEvidence {
    /// Begins to try `server`, each sidecar by one probe that exists for it: all of
    /// `databases` are on that server, and each try costs it a process.
    async fn ask(
        &self,
        databases: &[DatabaseName],
        server: &ServerName,
    ) -> BTreeMap<NodeId, Asked> {
        let mut since: BTreeMap<&DatabaseName, Result<Monotonic, String>> = BTreeMap::new();
        let mut asked = BTreeMap::new();
        for node in self.view.awaited().into_keys() {
            let mut seen = databases.iter();
            let Some(database) = seen.find(|database| self.registry.sees(&node, database)) else {
                continue;
            };
            if !since.contains_key(database) {
                since.insert(database, self.probes.probe(database, server).await);
            }
            if let Some(since) = since.get(database).cloned() {
                let database = database.clone();
                asked.insert(node, Asked { database, since });
            }
        }
        asked
    }

    /// What each sidecar has said of its tries. A member of a group that is not connected is left out:
    /// whether it is gone or must be waited for is a matter of its lease, and of the fleet's membership.
    fn answers(&self, asked: &BTreeMap<NodeId, Asked>) -> BTreeMap<NodeId, Answer> {
        let connected = self.view.awaited();
        let answer = |(node, asked): (&NodeId, &Asked)| {
            let answer = match (&asked.since, connected.get(node)) {
                (_, None | Some(false)) if node.is_member() => return None,
                (Err(reason), _) => Answer::Final(Reached::Unknown(reason.clone())),
                (Ok(since), Some(true)) => self.answer(node, &asked.database, *since),
                (Ok(_), Some(false) | None) => Answer::Final(Reached::Unknown(ABSENT.to_owned())),
            };
            Some((node.clone(), answer))
        };
        asked.iter().filter_map(answer).collect()
    }

    /// A silent sidecar's former result does not count: the server may be out of its reach by now.
    fn answer(&self, node: &NodeId, database: &DatabaseName, since: Monotonic) -> Answer {
        let unknown = self
            .tracker
            .usage_of(node, &[])
            .map_or_else(|| Some(NEVER.to_owned()), |usage| usage.unknown());
        if let Some(reason) = unknown {
            return Answer::Pending(reason);
        }
        match self.tracker.probe_result(node, database, since) {
            Some(ProbeResult::Reached) => Answer::Final(Reached::Yes),
            Some(ProbeResult::FailedOnce) => Answer::Pending(FAILED_ONCE.to_owned()),
            Some(ProbeResult::NotReached) => Answer::Final(Reached::No(NOT_REACHED.to_owned())),
            None => Answer::Pending("it reports, and has not tried yet".to_owned()),
        }
    }
}

#[async_trait]
impl Evidence for TelemetryEvidence {
    fn sessions(&self, databases: &[DatabaseName], server: &ServerName) -> SessionsOn {
        let addresses = self.addresses.addresses(server);
        let mut found = SessionsOn::default();
        for (node, connected) in self.view.awaited() {
            let mut seen = databases.iter();
            if !seen.any(|database| self.registry.sees(&node, database)) {
                continue;
            }
            let usage = self.tracker.usage_of(&node, databases);
            let usage = usage.as_ref().filter(|_| connected);
            let why_none = if connected { NEVER } else { ABSENT };
            count(&mut found, node, usage.ok_or(why_none), &addresses);
        }
        found
    }

    fn delay(&self) -> Duration {
        ACCESS_LOG_DELAY + ON_THE_WAY
    }

    async fn reach(
        &self,
        databases: &[DatabaseName],
        server: &ServerName,
        patience: Duration,
    ) -> BTreeMap<NodeId, Reached> {
        let mut changes = self.tracker.changes();
        let asked = self.ask(databases, server).await;
        let began = self.clock.monotonic();
        loop {
            changes.mark_unchanged();
            let answers = self.answers(&asked);
            let is_pending = |answer: &Answer| matches!(answer, Answer::Pending(_));
            let left = patience.saturating_sub(self.clock.elapsed(began));
            if !answers.values().any(is_pending) || left.is_zero() {
                return reached(answers);
            }
            match self.clock.timeout(left, changes.changed()).await {
                Ok(Ok(())) => self.clock.sleep(LOOK_INTERVAL).await,
                Ok(Err(_)) | Err(_) => return reached(answers),
            }
        }
    }
}

fn reached(answers: BTreeMap<NodeId, Answer>) -> BTreeMap<NodeId, Reached> {
    let answers = answers.into_iter();
    answers
        .map(|(node, answer)| match answer {
            Answer::Final(reached) => (node, reached),
            Answer::Pending(reason) => (node, Reached::Unknown(reason)),
        })
        .collect()
}

/// Adds a sidecar's sessions on `addresses`, or the reason why they cannot be counted.
fn count(
    found: &mut SessionsOn,
    node: NodeId,
    usage: Result<&NodeUsage, &str>,
    addresses: &[SocketAddr],
) {
    let known = usage
        .map_err(ToOwned::to_owned)
        .and_then(|usage| usage.unknown().map_or(Ok(usage), Err));
    let usage = match known {
        Ok(usage) => usage,
        Err(reason) => {
            found.unknown.insert(node, reason);
            return;
        }
    };
    let routes = usage.routes.values();
    let open = routes
        .clone()
        .flat_map(|route| &route.endpoints)
        .filter(|(address, _)| addresses.contains(address))
        .map(|(_, endpoint)| endpoint.sessions)
        .sum();
    let unplaced: u64 = routes.map(|route| route.unplaced).sum();
    if unplaced > 0 {
        let reason = format!("{unplaced} more whose endpoint it has not told yet");
        found.unknown.insert(node.clone(), reason);
    }
    if open > 0 {
        found.open.insert(node, open);
    }
}

/// From a sidecar to the count, beyond what it collects entries for.
const ON_THE_WAY: Duration = Duration::from_millis(50);

/// A fleet reports thousands of times a second; each look takes all of them.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

const NEVER: &str = "it has not reported yet";

const ABSENT: &str = "it is not connected";

/// Envoy counts all causes together.
const NOT_REACHED: &str = "its connections were refused, reset, or not answered within 1 s";

const FAILED_ONCE: &str = "its last try failed, and it has not tried again";

#[cfg(test)]
mod tests {
    use pointsman_catalog::Role;
    use pointsman_cutover::ports::SystemClock;
    use pointsman_xds::TelemetrySink as _;

    use super::*;
    use crate::{
        publish::tests::TestCatalog,
        telemetry::{EndpointUsage, Freshness, RouteUsage, report::RouteKey},
    };

    fn at(last: u8) -> SocketAddr {
        ([10, 0, 0, last], 5432).into()
    }

    /// Four sessions on the first endpoint, two on the second.
    fn usage(freshness: Freshness, unplaced: u64) -> NodeUsage {
        let key = RouteKey {
            database: DatabaseName::new("orders").unwrap(),
            role: Role::Writer,
        };
        let sessions = |sessions| EndpointUsage {
            sessions,
            ..EndpointUsage::default()
        };
        let route = RouteUsage {
            endpoints: [(at(1), sessions(4)), (at(2), sessions(2))].into(),
            unplaced,
            ..RouteUsage::default()
        };
        NodeUsage {
            freshness,
            routes: [(key, route)].into(),
            left_out: 0,
        }
    }

    fn on_the_first(usage: Result<&NodeUsage, &str>) -> String {
        let mut found = SessionsOn::default();
        let node = NodeId::new("app-1").unwrap();
        count(&mut found, node, usage, &[at(1)]);
        found.to_string()
    }

    #[test]
    fn sessions_are_counted_on_the_server_that_was_asked_for() {
        let usage = usage(Freshness::Fresh, 0);
        assert_eq!(on_the_first(Ok(&usage)), "4 sessions (app-1: 4)");
    }

    #[test]
    fn a_sidecar_that_has_gone_silent_is_unknown_by_name() {
        let usage = usage(Freshness::Silent(Duration::ZERO), 0);
        assert_eq!(
            on_the_first(Ok(&usage)),
            "0 sessions; unknown: app-1 (it has not reported for 0 s)"
        );
    }

    #[test]
    fn a_sidecar_without_numbers_is_unknown_by_name() {
        for reason in [NEVER, ABSENT] {
            let expected = format!("0 sessions; unknown: app-1 ({reason})");
            assert_eq!(on_the_first(Err(reason)), expected);
        }
    }

    #[tokio::test]
    async fn a_sidecar_that_is_away_is_unknown_whatever_it_has_just_reported() {
        let stored = TestCatalog::new().await;
        let running = stored.follow().await;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let holds = Arc::clone(&running.holds);
        let tracker = Arc::new(SessionTracker::new(Arc::clone(&clock), holds));
        tracker.metrics(&"app-1".into(), Vec::new());
        let evidence = TelemetryEvidence {
            clock,
            tracker,
            view: Arc::clone(&running.view),
            registry: Arc::clone(&running.registry),
            addresses: Arc::clone(&running.addresses),
            probes: Arc::clone(&running.probes),
        };
        let orders = [DatabaseName::new("orders").unwrap()];
        let found = evidence.sessions(&orders, &ServerName::new("blue").unwrap());
        let expected = "0 sessions; unknown: app-1 (it is not connected)";
        assert_eq!(found.to_string(), expected);
    }

    #[test]
    fn sessions_without_an_endpoint_are_unknown_beside_those_that_are_counted() {
        let usage = usage(Freshness::Fresh, 3);
        assert_eq!(
            on_the_first(Ok(&usage)),
            "4 sessions (app-1: 4); unknown: app-1 (3 more whose endpoint it has not told yet)"
        );
    }
}
