//! Changes routes. Each change takes a new epoch; no other code changes routes.

use std::collections::{BTreeMap, BTreeSet};

use super::{Catalog, CatalogError, ROUTES, SERVERS, key, retried, write};
use crate::{DatabaseName, Route, RouteChange, Routes, Server, ServerName, store::Precondition};

impl Catalog {
    /// Changes routes, all in one commit, and gives each changed database its next epoch.
    /// Returns the new routes.
    ///
    /// # Errors
    /// [`CatalogError::UnknownDatabase`] or [`CatalogError::UnknownServer`] if a change names something
    /// that is not declared. Then nothing is changed.
    pub async fn publish(
        &self,
        changes: &BTreeMap<DatabaseName, RouteChange>,
    ) -> Result<BTreeMap<DatabaseName, Routes>, CatalogError> {
        retried(|| self.try_publish(changes)).await
    }

    /// The routes of every database.
    pub async fn routes(&self) -> Result<BTreeMap<DatabaseName, Routes>, CatalogError> {
        let stored = self.values::<DatabaseName, Routes>(ROUTES).await?;
        let routes = stored.into_iter().map(|(name, (routes, _))| (name, routes));
        Ok(routes.collect())
    }

    /// The databases whose writer route serves `server`, or is a hold from it.
    pub async fn databases_served_by(
        &self,
        server: &ServerName,
    ) -> Result<Vec<DatabaseName>, CatalogError> {
        let routes = self.routes().await?;
        let on_server = routes
            .into_iter()
            .filter(|(_, routes)| routes.writer.origin().contains(server));
        Ok(on_server.map(|(name, _)| name).collect())
    }

    async fn try_publish(
        &self,
        changes: &BTreeMap<DatabaseName, RouteChange>,
    ) -> Result<BTreeMap<DatabaseName, Routes>, CatalogError> {
        let mut published = BTreeMap::new();
        let mut writes = Vec::with_capacity(changes.len());
        for (name, change) in changes {
            let at = key(ROUTES, name);
            let Some((routes, revision)) = self.value::<Routes>(&at).await? else {
                return Err(self.unknown_database(name).await?);
            };
            let routes = Routes {
                epoch: routes.epoch.next(),
                writer: change.writer.clone().unwrap_or(routes.writer),
                reader: change.reader.clone().unwrap_or(routes.reader),
            };
            writes.push(write(at, &routes, Precondition::At(revision))?);
            published.insert(name.clone(), routes);
        }
        self.all_known(changes).await?;
        if !writes.is_empty() {
            self.store.commit(writes).await?;
        }
        Ok(published)
    }

    /// Servers are never removed, so a server that exists now exists at the commit, too.
    async fn all_known(
        &self,
        changes: &BTreeMap<DatabaseName, RouteChange>,
    ) -> Result<(), CatalogError> {
        let named: BTreeSet<_> = changes
            .values()
            .flat_map(|change| [&change.writer, &change.reader])
            .flatten()
            .flat_map(Route::named)
            .collect();
        for server in named {
            if self.value::<Server>(&key(SERVERS, server)).await?.is_none() {
                return Err(self.unknown_server(server).await?);
            }
        }
        Ok(())
    }
}
