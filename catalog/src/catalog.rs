//! The store's content as types.

mod addresses;
mod apply;
mod changes;
mod differences;
mod groups;
mod members;
mod nodes;
mod routes;

use std::{collections::BTreeMap, fmt, sync::Arc};

use crate::{
    Database, DatabaseName, GroupName, Node, NodeId, Routes, Server, ServerName, Store,
    store::{
        Key, Precondition, Revision, StoreError, Write,
        record::{Format, Record, decode, encode},
    },
};
pub use apply::{Applied, Changed, OpenSessions};
pub use changes::CatalogChanges;
pub use differences::FieldChange;
pub use nodes::{Registered, Registration};
pub use routes::ChangedRoutes;

/// Typed access to the servers, databases, routes and sidecars in the store.
///
/// Each change is one atomic commit. After a conflict with another commit it reads again and retries,
/// a few times.
#[derive(Clone, Debug)]
pub struct Catalog {
    store: Arc<dyn Store>,
}

/// Variants are what the caller does next.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// Take one of `known`, or declare the server.
    #[error("there is no server {name}; known: {}", list(.known))]
    UnknownServer {
        name: ServerName,
        known: Vec<String>,
    },
    /// Take one of `known`, or declare the database.
    #[error("there is no database {name}; known: {}", list(.known))]
    UnknownDatabase {
        name: DatabaseName,
        known: Vec<String>,
    },
    /// Take one of `known`.
    #[error("there is no sidecar {name}; registered: {}", list(.known))]
    UnknownNode { name: NodeId, known: Vec<String> },
    /// Take one of `known`, or declare the group.
    #[error("there is no sidecar group {name}; known: {}", list(.known))]
    UnknownGroup { name: GroupName, known: Vec<String> },
    /// Choose another name or pattern.
    #[error("the group was not added: {0}")]
    GroupClash(String),
    /// Add what the file leaves out, or change what clashes with it.
    #[error("nothing was applied: {}", .0.join("; "))]
    Clash(Vec<String>),
    /// Ask again with [`OpenSessions::Cut`], when nobody uses the former ports.
    #[error(
        "nothing was applied: {}: every sidecar would close the former port at once and end the sessions \
         on it, and refuse applications that connect there; apply with --cut-sessions if that is meant",
        .0.join("; ")
    )]
    CutsSessions(Vec<String>),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Catalog {
    /// The catalogue in `store`.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    /// The store, for data that is kept next to the catalogue.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Every server, by name.
    pub async fn servers(&self) -> Result<Vec<Server>, CatalogError> {
        self.all(SERVERS).await
    }

    /// The server `name`.
    ///
    /// # Errors
    /// [`CatalogError::UnknownServer`], with those that are known.
    pub async fn server(&self, name: &ServerName) -> Result<Server, CatalogError> {
        match self.value(&key(SERVERS, name)).await? {
            Some((server, _)) => Ok(server),
            None => Err(self.unknown_server(name).await?),
        }
    }

    /// Every database, by name.
    pub async fn databases(&self) -> Result<Vec<Database>, CatalogError> {
        self.all(DATABASES).await
    }

    /// The database `name`.
    ///
    /// # Errors
    /// [`CatalogError::UnknownDatabase`], with those that are known.
    pub async fn database(&self, name: &DatabaseName) -> Result<Database, CatalogError> {
        match self.value(&key(DATABASES, name)).await? {
            Some((database, _)) => Ok(database),
            None => Err(self.unknown_database(name).await?),
        }
    }

    async fn unknown_server(&self, name: &ServerName) -> Result<CatalogError, CatalogError> {
        Ok(CatalogError::UnknownServer {
            name: name.clone(),
            known: self.names(SERVERS).await?,
        })
    }

    async fn unknown_database(&self, name: &DatabaseName) -> Result<CatalogError, CatalogError> {
        Ok(CatalogError::UnknownDatabase {
            name: name.clone(),
            known: self.names(DATABASES).await?,
        })
    }

    async fn value<T: Record>(&self, key: &Key) -> Result<Option<(T, Revision)>, CatalogError> {
        match self.store.get(key).await? {
            Some(stored) => Ok(Some((decode(key, &stored.value)?, stored.revision))),
            None => Ok(None),
        }
    }

    /// All records under `prefix`, by the rest of their keys.
    async fn values<N, T>(&self, prefix: &str) -> Result<BTreeMap<N, (T, Revision)>, CatalogError>
    where
        N: TryFrom<String, Error: fmt::Display> + Ord,
        T: Record,
    {
        let mut values = BTreeMap::new();
        for (key, stored) in self.store.range(prefix).await? {
            let value = decode(&key, &stored.value)?;
            values.insert(name(prefix, &key)?, (value, stored.revision));
        }
        Ok(values)
    }

    async fn all<T: Record>(&self, prefix: &str) -> Result<Vec<T>, CatalogError> {
        let stored = self.store.range(prefix).await?;
        let values = stored.iter().map(|(key, it)| decode(key, &it.value));
        Ok(values.collect::<Result<_, _>>()?)
    }

    async fn names(&self, prefix: &str) -> Result<Vec<String>, CatalogError> {
        let stored = self.store.range(prefix).await?;
        let names = stored.iter().map(|(key, _)| &key.as_str()[prefix.len()..]);
        Ok(names.map(str::to_owned).collect())
    }
}

/// Runs `attempt` again after a conflict, a few times.
async fn retried<T, F>(attempt: impl Fn() -> F) -> Result<T, CatalogError>
where
    F: Future<Output = Result<T, CatalogError>>,
{
    for _ in 1..ATTEMPTS {
        match attempt().await {
            Err(CatalogError::Store(StoreError::Conflict { .. })) => {}
            outcome => return outcome,
        }
    }
    attempt().await
}

fn key(prefix: &str, name: &impl fmt::Display) -> Key {
    Key::new(format!("{prefix}{name}"))
}

fn write<T: Record>(key: Key, value: &T, when: Precondition) -> Result<Write, StoreError> {
    Ok(Write {
        value: Some(encode(&key, value)?),
        key,
        when,
    })
}

/// What `key` names, under the prefix that it has.
fn name<N>(prefix: &str, key: &Key) -> Result<N, StoreError>
where
    N: TryFrom<String, Error: fmt::Display>,
{
    let name = key.as_str()[prefix.len()..].to_owned();
    N::try_from(name).map_err(|error| StoreError::Corrupt {
        key: key.clone(),
        source: serde::de::Error::custom(error),
    })
}

impl Record for Server {
    const FORMAT: Format = Format(2);
}

impl Record for Database {
    const FORMAT: Format = Format(1);
}

impl Record for Routes {
    const FORMAT: Format = Format(1);
}

impl Record for Node {
    const FORMAT: Format = Format(1);
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

const ADDRESSES: &str = "addresses/";
const SERVERS: &str = "servers/";
const DATABASES: &str = "databases/";
const ROUTES: &str = "routes/";
const NODES: &str = "nodes/";
const GROUPS: &str = "sidecar-groups/";
const MEMBERS: &str = "members/";
/// Written by each apply that changes something, so that two of them conflict.
const APPLIED: &str = "applied";
/// A conflict means that another commit came first. More conflicts in a row are not by chance.
const ATTEMPTS: u32 = 5;
