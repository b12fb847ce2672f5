//! What sidecars report, in the engine's words.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use pointsman_catalog::{DatabaseName, NodeId, ServerName};
use pointsman_cutover::ports::{Evidence, Reached, SessionsOn};
use tokio::time::{Instant, timeout_at};

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

    /// What each registered sidecar has said of its tries after `since`.
    fn said(&self, database: &DatabaseName, since: Instant) -> BTreeMap<NodeId, Reached> {
        let registered = self.publisher.registered().into_iter();
        registered
            .map(|(node, connected)| {
                let reached = if connected {
                    self.said_by(&node, database, since)
                } else {
                    Reached::Unknown(ABSENT.to_owned())
                };
                (node, reached)
            })
            .collect()
    }

    /// What a silent sidecar reached before may be out of its reach by now.
    fn said_by(&self, node: &NodeId, database: &DatabaseName, since: Instant) -> Reached {
        let unknown = self
            .census
            .usage_of(node, &[])
            .map_or_else(never, |usage| usage.unknown());
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

#[async_trait]
impl Evidence for Witness {
    fn sessions(&self, databases: &[DatabaseName], server: &ServerName) -> SessionsOn {
        let addresses = self.publisher.addresses(server);
        let mut found = SessionsOn::default();
        for (node, connected) in self.publisher.registered() {
            let usage = self.census.usage_of(&node, databases);
            let unknown = match &usage {
                _ if !connected => Some(ABSENT.to_owned()),
                None => never(),
                Some(usage) => usage.unknown(),
            };
            if let Some(words) = unknown {
                found.unknown.insert(node, words);
                continue;
            }
            let routes = usage.iter().flat_map(|usage| usage.routes.values());
            let open = routes
                .clone()
                .flat_map(|route| &route.endpoints)
                .filter(|(address, _)| addresses.contains(address))
                .map(|(_, endpoint)| endpoint.sessions)
                .sum();
            let unplaced: u64 = routes.map(|route| route.unplaced).sum();
            if unplaced > 0 {
                let words = format!("{unplaced} sessions whose endpoint it has not told yet");
                found.unknown.insert(node.clone(), words);
            }
            if open > 0 {
                found.open.insert(node, open);
            }
        }
        found
    }

    async fn reach(
        &self,
        database: &DatabaseName,
        server: &ServerName,
        patience: Duration,
    ) -> BTreeMap<NodeId, Reached> {
        let mut changes = self.census.changes();
        let since = match self.publisher.probe(database, server).await {
            Ok(since) => since,
            Err(words) => {
                let unasked = |(node, _connected)| (node, Reached::Unknown(words.clone()));
                return self
                    .publisher
                    .registered()
                    .into_iter()
                    .map(unasked)
                    .collect();
            }
        };
        let deadline = Instant::now() + patience;
        loop {
            changes.mark_unchanged();
            let said = self.said(database, since);
            let waits = said
                .values()
                .any(|reached| matches!(reached, Reached::Unknown(words) if *words != ABSENT));
            if !waits {
                return said;
            }
            match timeout_at(deadline, changes.changed()).await {
                Ok(Ok(())) => {}
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

fn never() -> Option<String> {
    Some("it has not reported yet".to_owned())
}

const ABSENT: &str = "it is not connected";

/// Envoy counts all causes together.
const NOT_REACHED: &str = "its connection was refused, reset, or not answered within 1 s";
