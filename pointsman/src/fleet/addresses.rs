//! The addresses behind endpoints' names. EDS takes only IP addresses, so names are resolved
//! here, again and again.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use futures_util::future::join_all;
use pointsman_catalog::{
    Endpoint, Server, ServerName, Store,
    store::{Key, Precondition, StoreError, Write},
};
use tokio::{net::lookup_host, time::timeout};
use tracing::{info, warn};

/// What each endpoint last resolved to. Kept in the store, so that a start while a name
/// server is away finds the addresses that sidecars use already.
#[derive(Debug)]
pub(super) struct Addresses {
    store: Arc<dyn Store>,
    known: BTreeMap<Endpoint, Vec<SocketAddr>>,
    /// Said once, not at every try.
    failing: BTreeSet<Endpoint>,
}

impl Addresses {
    /// Those that a former process left.
    pub(super) async fn restore(store: Arc<dyn Store>) -> Result<Self, StoreError> {
        let mut known = BTreeMap::new();
        for (key, stored) in store.range(PREFIX).await? {
            let name = key.as_str().strip_prefix(PREFIX).unwrap_or_default();
            let Ok(endpoint) = name.parse() else { continue };
            let addresses = serde_json::from_slice(&stored.value)
                .map_err(|source| StoreError::Corrupt { key, source })?;
            known.insert(endpoint, addresses);
        }
        Ok(Self {
            store,
            known,
            failing: BTreeSet::new(),
        })
    }

    /// Takes over what was looked up; says whether anything changed. Names that did not
    /// resolve keep their last addresses.
    pub(super) async fn learn(&mut self, answers: Vec<Answer>) -> Result<bool, StoreError> {
        let mut writes = Vec::new();
        for Answer { endpoint, found } in answers {
            match found {
                Err(words) => {
                    let kept = self.known.get(&endpoint).map_or(0, Vec::len);
                    if self.failing.insert(endpoint.clone()) {
                        warn!(%endpoint, words, kept, "a server's name does not resolve");
                    }
                }
                Ok(addresses) => {
                    self.failing.remove(&endpoint);
                    if self.known.get(&endpoint) == Some(&addresses) {
                        continue;
                    }
                    info!(%endpoint, ?addresses, "a server's addresses changed");
                    writes.push(write(&endpoint, &addresses)?);
                    self.known.insert(endpoint, addresses);
                }
            }
        }
        if writes.is_empty() {
            return Ok(false);
        }
        self.store.commit(writes).await?;
        Ok(true)
    }

    /// The endpoints without any address, now or before, each with the reason.
    pub(super) fn unresolved(&self, answers: &[Answer]) -> Vec<String> {
        answers
            .iter()
            .filter(|answer| !self.known.contains_key(&answer.endpoint))
            .filter_map(|answer| {
                let words = answer.found.as_ref().err()?;
                Some(format!("{} ({words})", answer.endpoint))
            })
            .collect()
    }

    /// The addresses of each of `servers` that has any.
    pub(super) fn by_server<'a>(
        &self,
        servers: impl IntoIterator<Item = &'a Server>,
    ) -> BTreeMap<ServerName, Vec<SocketAddr>> {
        servers
            .into_iter()
            .filter_map(|server| {
                let addresses = self.known.get(&server.endpoint)?;
                Some((server.name.clone(), addresses.clone()))
            })
            .collect()
    }
}

/// What one endpoint resolves to now, sorted, or why it does not.
#[derive(Debug)]
pub(super) struct Answer {
    endpoint: Endpoint,
    found: Result<Vec<SocketAddr>, String>,
}

/// Looks all of them up at once.
pub(super) async fn look_up(endpoints: BTreeSet<Endpoint>) -> Vec<Answer> {
    join_all(endpoints.into_iter().map(answer)).await
}

async fn answer(endpoint: Endpoint) -> Answer {
    let found = resolve(&endpoint).await;
    Answer { endpoint, found }
}

async fn resolve(endpoint: &Endpoint) -> Result<Vec<SocketAddr>, String> {
    let (host, port) = (endpoint.host(), endpoint.port());
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    match timeout(LOOKUP, lookup_host((host, port))).await {
        Err(_elapsed) => Err(format!("the name server did not answer within {LOOKUP:?}")),
        Ok(Err(error)) => Err(error.to_string()),
        Ok(Ok(found)) => {
            let addresses: BTreeSet<_> = found.collect();
            if addresses.is_empty() {
                Err("the name has no address".to_owned())
            } else {
                Ok(addresses.into_iter().collect())
            }
        }
    }
}

fn write(endpoint: &Endpoint, addresses: &[SocketAddr]) -> Result<Write, StoreError> {
    let key = Key::new(format!("{PREFIX}{endpoint}"));
    match serde_json::to_vec(addresses) {
        Ok(value) => Ok(Write {
            key,
            value: Some(value),
            when: Precondition::Any,
        }),
        Err(source) => Err(StoreError::Corrupt { key, source }),
    }
}

/// An answer that no name server gave.
#[cfg(test)]
pub(super) fn answered(endpoint: &str, found: Result<&str, &str>) -> Vec<Answer> {
    vec![Answer {
        endpoint: endpoint.parse().unwrap(),
        found: found
            .map(|address| vec![address.parse().unwrap()])
            .map_err(str::to_owned),
    }]
}

const PREFIX: &str = "addresses/";
/// Name servers retry for longer; the last addresses serve meanwhile.
const LOOKUP: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use pointsman_catalog::{FenceLevel, store::EmbeddedStore};

    use super::*;

    fn server(endpoint: &str) -> Server {
        Server {
            name: ServerName::new("blue").unwrap(),
            endpoint: endpoint.parse().unwrap(),
            control: "host=x".to_owned(),
            replication: None,
            fence: FenceLevel::Sql,
        }
    }

    #[tokio::test]
    async fn the_last_addresses_survive_a_failing_name_server_and_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(EmbeddedStore::create(dir.path()).unwrap());
        let mut addresses = Addresses::restore(Arc::clone(&store)).await.unwrap();
        let up = answered("db.example:5432", Ok("10.0.0.1:5432"));
        assert!(addresses.learn(up).await.unwrap());
        let down = answered("db.example:5432", Err("SERVFAIL"));
        assert!(!addresses.learn(down).await.unwrap());

        let restarted = Addresses::restore(store).await.unwrap();
        let found = restarted.by_server([&server("db.example:5432")]);
        assert_eq!(
            found.into_values().next().unwrap(),
            ["10.0.0.1:5432".parse().unwrap()]
        );
    }

    #[tokio::test]
    async fn another_endpoint_does_not_inherit_the_addresses_of_the_former() {
        let dir = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(EmbeddedStore::create(dir.path()).unwrap());
        let mut addresses = Addresses::restore(store).await.unwrap();
        let up = answered("db.example:5432", Ok("10.0.0.1:5432"));
        addresses.learn(up).await.unwrap();
        assert!(
            addresses
                .by_server([&server("other.example:5432")])
                .is_empty()
        );
    }

    #[tokio::test]
    async fn an_ip_address_needs_no_name_server() {
        let answers = look_up(["[::1]:5432".parse().unwrap()].into()).await;
        assert_eq!(
            answers[0].found.as_deref(),
            Ok(["[::1]:5432".parse().unwrap()].as_slice())
        );
    }
}
