//! Changes routes. Each change takes a new epoch; no other code changes routes.

use std::collections::{BTreeMap, BTreeSet};

use super::{Catalog, CatalogError, ROUTES, SERVERS, key, retried, write};
use crate::{
    DatabaseName, Route, RouteChange, Routes, Server, ServerName,
    store::{Precondition, Revision},
};

/// What a change of routes made of them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ChangedRoutes {
    /// The new routes of each database that was changed.
    pub routes: BTreeMap<DatabaseName, Routes>,
    /// The commit that holds them; `None` if there was nothing to change.
    pub revision: Option<Revision>,
}

impl Catalog {
    /// Changes routes, all in one commit, and gives each changed database its next epoch.
    ///
    /// # Errors
    /// [`CatalogError::UnknownDatabase`] or [`CatalogError::UnknownServer`] for what a change
    /// names and nobody declared; nothing is changed then.
    pub async fn change_routes(
        &self,
        changes: &BTreeMap<DatabaseName, RouteChange>,
    ) -> Result<ChangedRoutes, CatalogError> {
        retried(|| self.try_change_routes(changes)).await
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

    async fn try_change_routes(
        &self,
        changes: &BTreeMap<DatabaseName, RouteChange>,
    ) -> Result<ChangedRoutes, CatalogError> {
        let mut changed = BTreeMap::new();
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
            changed.insert(name.clone(), routes);
        }
        self.all_known(changes).await?;
        let revision = if writes.is_empty() {
            None
        } else {
            Some(self.store.commit(writes).await?)
        };
        Ok(ChangedRoutes {
            routes: changed,
            revision,
        })
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
