//! What sidecars report, in the engine's words.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use pointsman_catalog::{DatabaseName, NodeId, ServerName};
use pointsman_cutover::ports::{Evidence, Reached, SessionsOn};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::{Freshness, NodeUsage, SessionCensus, Tried};
use crate::fleet::Publisher;

/// Joins the census with the registry and with the addresses of servers.
#[derive(Debug)]
pub(crate) struct Witness {
    publisher: Arc<Publisher>,
    census: Arc<SessionCensus>,
}

impl Witness {
    pub(crate) fn new(publisher: Arc<Publisher>, census: Arc<SessionCensus>) -> Self {
        Self { publisher, census }
    }

    /// What each sidecar has said of its tries.
    fn said(&self, asked: &BTreeMap<NodeId, Asked>) -> BTreeMap<NodeId, Reached> {
        let connected = self.publisher.registered();
        let said = |(node, asked): (&NodeId, &Asked)| {
            let reached = match &asked.since {
                Err(words) => Reached::Unknown(words.clone()),
                Ok(since) if connected.get(node) == Some(&true) => {
                    self.said_by(node, &asked.database, *since)
                }
                Ok(_) => Reached::Unknown(ABSENT.to_owned()),
            };
            (node.clone(), reached)
        };
        asked.iter().map(said).collect()
    }

    /// Begins to try `server`, each sidecar by one probe that exists for it: all of
    /// `databases` are on that server, and each try costs it a process.
    async fn ask(
        &self,
        databases: &[DatabaseName],
        server: &ServerName,
    ) -> BTreeMap<NodeId, Asked> {
        let mut since: BTreeMap<&DatabaseName, Result<Instant, String>> = BTreeMap::new();
        let mut asked = BTreeMap::new();
        for node in self.publisher.registered().into_keys() {
            let mut seen = databases.iter();
            let Some(database) = seen.find(|database| self.publisher.sees(&node, database)) else {
                continue;
            };
            if !since.contains_key(database) {
                since.insert(database, self.publisher.probe(database, server).await);
            }
            if let Some(since) = since.get(database).cloned() {
                let database = database.clone();
                asked.insert(node, Asked { database, since });
            }
        }
        asked
    }

    /// What a silent sidecar reached before may be out of its reach by now.
    fn said_by(&self, node: &NodeId, database: &DatabaseName, since: Instant) -> Reached {
        let unknown = self
            .census
            .usage_of(node, &[])
            .map_or_else(|| Some(NEVER.to_owned()), |usage| usage.unknown());
        if let Some(words) = unknown {
            return Reached::Unknown(words);
        }
        match self.census.tried(node, database, since) {
            Some(Tried::Reached) => Reached::Yes,
            Some(Tried::NotReached) => Reached::No(NOT_REACHED.to_owned()),
            None => Reached::Unknown("it reports, and has not tried yet".to_owned()),
        }
    }
}

/// By which probe a sidecar tries, and since when; or why it could not be told.
struct Asked {
    database: DatabaseName,
    since: Result<Instant, String>,
}

#[async_trait]
impl Evidence for Witness {
    fn sessions(&self, databases: &[DatabaseName], server: &ServerName) -> SessionsOn {
        let addresses = self.publisher.addresses(server);
        let mut found = SessionsOn::default();
        for (node, connected) in self.publisher.registered() {
            let mut seen = databases.iter();
            if !seen.any(|database| self.publisher.sees(&node, database)) {
                continue;
            }
            let usage = self.census.usage_of(&node, databases);
            let usage = usage.as_ref().filter(|_| connected);
            let why_none = if connected { NEVER } else { ABSENT };
            count(&mut found, node, usage.ok_or(why_none), &addresses);
        }
        found
    }

    async fn reach(
        &self,
        databases: &[DatabaseName],
        server: &ServerName,
        patience: Duration,
    ) -> BTreeMap<NodeId, Reached> {
        let mut changes = self.census.changes();
        let asked = self.ask(databases, server).await;
        let deadline = Instant::now() + patience;
        loop {
            changes.mark_unchanged();
            let said = self.said(&asked);
            let waits = |(node, reached): (&NodeId, &Reached)| {
                let told = asked.get(node).is_some_and(|asked| asked.since.is_ok());
                told && matches!(reached, Reached::Unknown(words) if *words != ABSENT)
            };
            if !said.iter().any(waits) {
                return said;
            }
            let looked = Instant::now();
            match timeout_at(deadline, changes.changed()).await {
                Ok(Ok(())) => sleep_until(looked + PACE).await,
                Ok(Err(_)) | Err(_) => return said,
            }
        }
    }
}

impl NodeUsage {
    /// Why the numbers are unknown; `None` while they are known.
    pub(crate) fn unknown(&self) -> Option<String> {
        match self.freshness {
            Freshness::Fresh => None,
            Freshness::UnknownSince(since) => {
                let age = since.elapsed().as_secs();
                Some(format!("it has not reported for {age} s"))
            }
        }
    }
}

/// Adds a sidecar's sessions on `addresses`, and what of them cannot be counted. No usage:
/// the words say why.
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
        Err(words) => {
            found.unknown.insert(node, words);
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
        let words = format!("{unplaced} more whose endpoint it has not told yet");
        found.unknown.insert(node.clone(), words);
    }
    if open > 0 {
        found.open.insert(node, open);
    }
}

/// A fleet reports thousands of times a second; each look takes all of them.
const PACE: Duration = Duration::from_millis(50);

const NEVER: &str = "it has not reported yet";

const ABSENT: &str = "it is not connected";

/// Envoy counts all causes together.
const NOT_REACHED: &str = "its connection was refused, reset, or not answered within 1 s";

#[cfg(test)]
mod tests {
    use pointsman_catalog::Role;
    use pointsman_xds::TelemetrySink as _;

    use super::*;
    use crate::{
        evidence::{EndpointUsage, RouteUsage, report::RouteKey},
        fleet::tests::House,
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
        let usage = usage(Freshness::UnknownSince(Instant::now()), 0);
        assert_eq!(
            on_the_first(Ok(&usage)),
            "0 sessions; unknown: app-1 (it has not reported for 0 s)"
        );
    }

    #[test]
    fn a_sidecar_without_numbers_is_unknown_by_name() {
        for words in [NEVER, ABSENT] {
            let expected = format!("0 sessions; unknown: app-1 ({words})");
            assert_eq!(on_the_first(Err(words)), expected);
        }
    }

    #[tokio::test]
    async fn a_sidecar_that_is_away_is_unknown_whatever_it_has_just_reported() {
        let publisher = House::new().await.publisher().await;
        let census = Arc::new(SessionCensus::new(Arc::clone(&publisher)));
        census.metrics(&"app-1".into(), Vec::new());
        let witness = Witness::new(publisher, census);
        let orders = [DatabaseName::new("orders").unwrap()];
        let found = witness.sessions(&orders, &ServerName::new("blue").unwrap());
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
