//! EDS takes only IP addresses, so the names of endpoints are resolved here, again and again.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use pointsman_catalog::{Catalog, CatalogError, Chain, Declaration, Endpoint};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::name_lookup::{Answer, look_up};

/// Resolves the endpoints of servers and records their addresses in the catalogue, from where
/// they reach the sidecars. A new address is a new publish and no new epoch.
#[derive(Debug)]
pub(crate) struct Resolver {
    catalog: Arc<Catalog>,
    /// The endpoints that did not resolve at the last try. A failure is logged once.
    failing: Mutex<BTreeSet<Endpoint>>,
}

/// Why a declaration is refused before anything of it is recorded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ResolveError {
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error(
        "{} not resolve, and sidecars take IP addresses only: {}",
        subject(.0),
        .0.join("; ")
    )]
    Unresolved(Vec<String>),
}

impl Resolver {
    /// Records what it finds in `catalog`.
    pub(super) fn new(catalog: Arc<Catalog>) -> Self {
        Self {
            catalog,
            failing: Mutex::default(),
        }
    }

    /// Resolves the endpoints of a declaration, before it is recorded: a server without an
    /// address would leave its databases unpublished.
    pub(crate) async fn resolve_declared(
        &self,
        declaration: &Declaration,
    ) -> Result<(), ResolveError> {
        let servers = declaration.servers.iter();
        let endpoints = servers.map(|server| server.endpoint.clone());
        let answers = look_up(endpoints.collect()).await;
        let recorded = self.catalog.addresses().await?;
        let unresolved = unresolved(&answers, &recorded);
        if !unresolved.is_empty() {
            return Err(ResolveError::Unresolved(unresolved));
        }
        self.record(answers, &recorded).await?;
        Ok(())
    }

    /// Resolves the endpoints of every server.
    pub(super) async fn resolve(&self) -> Result<(), CatalogError> {
        let servers = self.catalog.servers().await?.into_iter();
        let answers = look_up(servers.map(|server| server.endpoint).collect()).await;
        let recorded = self.catalog.addresses().await?;
        self.record(answers, &recorded).await
    }

    /// Resolves again and again, until `stop`.
    pub(super) async fn run(&self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(RESOLVE) => {}
            }
            if let Err(error) = self.resolve().await {
                warn!(error = %Chain(&error), "the addresses of servers could not be recorded");
            }
        }
    }

    /// Names that did not resolve keep the addresses that are recorded.
    async fn record(
        &self,
        answers: Vec<Answer>,
        recorded: &BTreeMap<Endpoint, Vec<SocketAddr>>,
    ) -> Result<(), CatalogError> {
        let mut changed = BTreeMap::new();
        for Answer { endpoint, found } in answers {
            match found {
                Ok(addresses) => {
                    self.failing().remove(&endpoint);
                    if recorded.get(&endpoint) != Some(&addresses) {
                        info!(%endpoint, ?addresses, "a server's addresses changed");
                        changed.insert(endpoint, addresses);
                    }
                }
                Err(reason) => {
                    let kept = recorded.get(&endpoint).map_or(0, Vec::len);
                    if self.failing().insert(endpoint.clone()) {
                        warn!(%endpoint, reason, kept, "a server's name does not resolve");
                    }
                }
            }
        }
        self.catalog.record_addresses(&changed).await?;
        Ok(())
    }

    fn failing(&self) -> std::sync::MutexGuard<'_, BTreeSet<Endpoint>> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The endpoints without any address, now or before, each with the reason.
fn unresolved(answers: &[Answer], recorded: &BTreeMap<Endpoint, Vec<SocketAddr>>) -> Vec<String> {
    answers
        .iter()
        .filter(|answer| !recorded.contains_key(&answer.endpoint))
        .filter_map(|answer| {
            let reason = answer.found.as_ref().err()?;
            Some(format!("{} ({reason})", answer.endpoint))
        })
        .collect()
}

fn subject(names: &[String]) -> String {
    match names.len() {
        1 => "one endpoint does".to_owned(),
        more => format!("{more} endpoints do"),
    }
}

/// Cloud name servers keep records for 5 s and more.
const RESOLVE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use pointsman_catalog::store::EmbeddedStore;

    use super::*;

    /// An answer that no name server gave.
    fn answered(endpoint: &str, found: Result<&str, &str>) -> Vec<Answer> {
        vec![Answer {
            endpoint: endpoint.parse().unwrap(),
            found: found
                .map(|address| vec![address.parse().unwrap()])
                .map_err(str::to_owned),
        }]
    }

    #[tokio::test]
    async fn the_last_addresses_survive_a_failing_name_server_and_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(EmbeddedStore::create(dir.path()).unwrap());
        let catalog = Arc::new(Catalog::new(store));
        let resolver = Resolver::new(Arc::clone(&catalog));
        let learn = async |answers: Vec<Answer>| {
            let recorded = catalog.addresses().await.unwrap();
            resolver.record(answers, &recorded).await.unwrap();
            catalog.addresses().await.unwrap()
        };
        let up = learn(answered("db.example:5432", Ok("10.0.0.1:5432"))).await;
        let endpoint: Endpoint = "db.example:5432".parse().unwrap();
        assert_eq!(up[&endpoint], ["10.0.0.1:5432".parse().unwrap()]);
        let before = *catalog.store().watch().borrow();
        let down = answered("db.example:5432", Err("SERVFAIL"));
        assert_eq!(unresolved(&down, &up), Vec::<String>::new());
        assert_eq!(learn(down).await, up);
        assert_eq!(
            *catalog.store().watch().borrow(),
            before,
            "nothing was written"
        );

        drop(resolver);
        let store = Arc::clone(catalog.store());
        assert_eq!(Catalog::new(store).addresses().await.unwrap(), up);
    }
}
