use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    Database, DatabaseName, Declaration, Epoch, Node, NodeId, Route, RouteChange, Routes, Server,
    ServerName, Store,
    store::{Key, Precondition, Revision, StoreError, Write},
};

/// What the store says is served where, in types.
#[derive(Clone, Debug)]
pub struct Catalog {
    store: Arc<dyn Store>,
}

/// What applying a declaration did.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Applied {
    pub added: Vec<String>,
    pub changed: Vec<String>,
    /// In the catalogue and not in the file; nothing was done to them.
    pub left: Vec<String>,
}

/// What registering a node did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Registered {
    New,
    Unchanged,
    /// Its listen address is another one now.
    Moved,
}

/// Variants are what the caller does next.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    #[error("there is no server {name}; known: {}", list(.known))]
    UnknownServer {
        name: ServerName,
        known: Vec<String>,
    },
    #[error("there is no database {name}; known: {}", list(.known))]
    UnknownDatabase {
        name: DatabaseName,
        known: Vec<String>,
    },
    #[error("there is no sidecar {name}; registered: {}", list(.known))]
    UnknownNode { name: NodeId, known: Vec<String> },
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Catalog {
    /// The catalogue in `store`.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    /// Where it lives, for what is kept beside it.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Makes the declared servers and databases known. A database that is new gets routes
    /// at epoch 1; the routes of one that is known stay as they are, whatever the file says.
    pub async fn apply(&self, declaration: &Declaration) -> Result<Applied, CatalogError> {
        for _ in 0..ATTEMPTS {
            match self.try_apply(declaration).await {
                Err(CatalogError::Store(StoreError::Conflict { .. })) => {}
                outcome => return outcome,
            }
        }
        self.try_apply(declaration).await
    }

    async fn try_apply(&self, declaration: &Declaration) -> Result<Applied, CatalogError> {
        let mut applied = Applied::default();
        let mut writes = Vec::new();
        let servers = self.values::<Server>(SERVERS).await?;
        let databases = self.values::<Database>(DATABASES).await?;
        for server in &declaration.servers {
            let key = key(SERVERS, &server.name);
            stage(&mut writes, &mut applied, key, server, &servers, "server")?;
        }
        for database in &declaration.databases {
            let at = key(DATABASES, &database.name);
            let new = !databases.contains_key(&at);
            stage(
                &mut writes,
                &mut applied,
                at,
                database,
                &databases,
                "database",
            )?;
            if new {
                let routes = Routes {
                    epoch: Epoch(1),
                    writer: Route::serve(vec![database.writer.clone()]),
                    reader: Route::serve(database.readers.clone()),
                };
                let at = key(ROUTES, &database.name);
                writes.push(write(at, &routes, Precondition::Absent)?);
            }
        }
        applied.left = left(&servers, &databases, declaration);
        if !writes.is_empty() {
            self.store.commit(writes).await?;
        }
        Ok(applied)
    }

    /// Every server, by name.
    pub async fn servers(&self) -> Result<Vec<Server>, CatalogError> {
        Ok(first(self.values(SERVERS).await?))
    }

    /// The server `name`.
    pub async fn server(&self, name: &ServerName) -> Result<Server, CatalogError> {
        match self.value(&key(SERVERS, name)).await? {
            Some((server, _)) => Ok(server),
            None => Err(CatalogError::UnknownServer {
                name: name.clone(),
                known: self.names(SERVERS).await?,
            }),
        }
    }

    /// Every database, by name.
    pub async fn databases(&self) -> Result<Vec<Database>, CatalogError> {
        Ok(first(self.values(DATABASES).await?))
    }

    /// The database `name`.
    pub async fn database(&self, name: &DatabaseName) -> Result<Database, CatalogError> {
        match self.value(&key(DATABASES, name)).await? {
            Some((database, _)) => Ok(database),
            None => Err(CatalogError::UnknownDatabase {
                name: name.clone(),
                known: self.names(DATABASES).await?,
            }),
        }
    }

    /// The routes of every database.
    pub async fn routes(&self) -> Result<BTreeMap<DatabaseName, Routes>, CatalogError> {
        let stored = self.values::<Routes>(ROUTES).await?;
        Ok(stored
            .into_iter()
            .filter_map(|(key, (routes, _))| Some((name_in(&key, ROUTES)?, routes)))
            .collect())
    }

    /// Changes routes, all in one commit, and gives each changed database its next epoch.
    /// Returns the new routes.
    pub async fn publish(
        &self,
        changes: &BTreeMap<DatabaseName, RouteChange>,
    ) -> Result<BTreeMap<DatabaseName, Routes>, CatalogError> {
        for _ in 0..ATTEMPTS {
            match self.try_publish(changes).await {
                Err(CatalogError::Store(StoreError::Conflict { .. })) => {}
                outcome => return outcome,
            }
        }
        self.try_publish(changes).await
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
                return Err(CatalogError::UnknownDatabase {
                    name: name.clone(),
                    known: self.names(DATABASES).await?,
                });
            };
            let routes = Routes {
                epoch: routes.epoch.next(),
                writer: change.writer.clone().unwrap_or(routes.writer),
                reader: change.reader.clone().unwrap_or(routes.reader),
            };
            writes.push(write(at, &routes, Precondition::At(revision))?);
            published.insert(name.clone(), routes);
        }
        self.store.commit(writes).await?;
        Ok(published)
    }

    /// The databases whose writers are on `server`, or were until a hold.
    pub async fn databases_served_by(
        &self,
        server: &ServerName,
    ) -> Result<Vec<DatabaseName>, CatalogError> {
        let routes = self.routes().await?;
        let on_server = |route: &Route| match route {
            Route::Serve { servers, .. } => servers.contains(server),
            Route::Hold { from, .. } => from.contains(server),
            Route::Refuse => false,
        };
        Ok(routes
            .into_iter()
            .filter(|(_, routes)| on_server(&routes.writer))
            .map(|(name, _)| name)
            .collect())
    }

    /// Every registered sidecar.
    pub async fn nodes(&self) -> Result<Vec<Node>, CatalogError> {
        Ok(first(self.values(NODES).await?))
    }

    /// The sidecar `id`, if it is registered.
    pub async fn node(&self, id: &NodeId) -> Result<Option<Node>, CatalogError> {
        Ok(self.value(&key(NODES, id)).await?.map(|(node, _)| node))
    }

    /// Registers a sidecar, or moves it to another listen address.
    pub async fn register(&self, node: Node) -> Result<Registered, CatalogError> {
        let at = key(NODES, &node.id);
        let known = self.value::<Node>(&at).await?;
        let (when, outcome) = match known {
            None => (Precondition::Absent, Registered::New),
            Some((known, _)) if known.listen == node.listen => return Ok(Registered::Unchanged),
            Some((_, revision)) => (Precondition::At(revision), Registered::Moved),
        };
        self.store.commit(vec![write(at, &node, when)?]).await?;
        Ok(outcome)
    }

    /// Takes a sidecar off the registry; barriers wait for it no longer.
    pub async fn retire(&self, id: &NodeId) -> Result<(), CatalogError> {
        let at = key(NODES, id);
        let Some((_, revision)) = self.value::<Node>(&at).await? else {
            return Err(CatalogError::UnknownNode {
                name: id.clone(),
                known: self.names(NODES).await?,
            });
        };
        let write = Write {
            key: at,
            value: None,
            when: Precondition::At(revision),
        };
        self.store.commit(vec![write]).await?;
        Ok(())
    }

    async fn value<T: for<'de> Deserialize<'de>>(
        &self,
        key: &Key,
    ) -> Result<Option<(T, Revision)>, CatalogError> {
        match self.store.get(key).await? {
            Some(stored) => Ok(Some((decode(key, &stored.value)?, stored.revision))),
            None => Ok(None),
        }
    }

    async fn values<T: for<'de> Deserialize<'de>>(
        &self,
        prefix: &str,
    ) -> Result<BTreeMap<Key, (T, Revision)>, CatalogError> {
        let mut values = BTreeMap::new();
        for (key, stored) in self.store.range(prefix).await? {
            let value = decode(&key, &stored.value)?;
            values.insert(key, (value, stored.revision));
        }
        Ok(values)
    }

    async fn names(&self, prefix: &str) -> Result<Vec<String>, CatalogError> {
        let stored = self.store.range(prefix).await?;
        Ok(stored
            .iter()
            .filter_map(|(key, _)| key.as_str().strip_prefix(prefix))
            .map(str::to_owned)
            .collect())
    }
}

/// Stages a declared value where it is new or differs.
fn stage<T: PartialEq + Serialize>(
    writes: &mut Vec<Write>,
    applied: &mut Applied,
    at: Key,
    value: &T,
    known: &BTreeMap<Key, (T, Revision)>,
    kind: &str,
) -> Result<(), CatalogError> {
    let name = at.as_str().rsplit('/').next().unwrap_or_default();
    let label = format!("{kind} {name}");
    match known.get(&at) {
        None => {
            applied.added.push(label);
            writes.push(write(at, value, Precondition::Absent)?);
        }
        Some((known, _)) if known == value => {}
        Some((_, revision)) => {
            applied.changed.push(label);
            writes.push(write(at, value, Precondition::At(*revision))?);
        }
    }
    Ok(())
}

fn left(
    servers: &BTreeMap<Key, (Server, Revision)>,
    databases: &BTreeMap<Key, (Database, Revision)>,
    declaration: &Declaration,
) -> Vec<String> {
    let declared = |name: &ServerName| declaration.servers.iter().any(|s| s.name == *name);
    let servers = servers
        .values()
        .filter(|(server, _)| !declared(&server.name))
        .map(|(server, _)| format!("server {}", server.name));
    let declared = |name: &DatabaseName| declaration.databases.iter().any(|d| d.name == *name);
    let databases = databases
        .values()
        .filter(|(database, _)| !declared(&database.name))
        .map(|(database, _)| format!("database {}", database.name));
    servers.chain(databases).collect()
}

fn first<T>(values: BTreeMap<Key, (T, Revision)>) -> Vec<T> {
    values.into_values().map(|(value, _)| value).collect()
}

fn name_in(key: &Key, prefix: &str) -> Option<DatabaseName> {
    DatabaseName::new(key.as_str().strip_prefix(prefix)?).ok()
}

fn key(prefix: &str, name: &impl std::fmt::Display) -> Key {
    Key::new(format!("{prefix}{name}"))
}

fn write<T: Serialize>(key: Key, value: &T, when: Precondition) -> Result<Write, StoreError> {
    match serde_json::to_vec(value) {
        Ok(value) => Ok(Write {
            key,
            value: Some(value),
            when,
        }),
        Err(source) => Err(StoreError::Corrupt { key, source }),
    }
}

fn decode<T: for<'de> Deserialize<'de>>(key: &Key, value: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(value).map_err(|source| StoreError::Corrupt {
        key: key.clone(),
        source,
    })
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

const SERVERS: &str = "servers/";
const DATABASES: &str = "databases/";
const ROUTES: &str = "routes/";
const NODES: &str = "nodes/";
/// A conflict means that somebody else got ahead; more in a row is no accident.
const ATTEMPTS: u32 = 4;
