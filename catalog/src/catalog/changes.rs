//! The catalogue, followed: all of it, then what changes.

use std::{collections::BTreeMap, fmt, net::SocketAddr};

use super::{ADDRESSES, Catalog, CatalogError, DATABASES, GROUPS, NODES, ROUTES, SERVERS, name};
use crate::{
    Database, DatabaseName, Endpoint, GroupName, Node, NodeId, Routes, Server, ServerName,
    SidecarGroup,
    store::{
        self, Key, Revision, StoreError, Versioned,
        record::{Record, decode},
    },
};

/// The entries of the catalogue that were written, as of one revision. `None` is a removed entry.
#[derive(Clone, Debug, Default)]
pub struct CatalogChanges {
    /// Every commit up to this one is taken into account, and none after it.
    pub revision: Revision,
    /// Whether this is the whole catalogue, rather than what was written.
    pub complete: bool,
    pub servers: BTreeMap<ServerName, Option<Server>>,
    pub databases: BTreeMap<DatabaseName, Option<Database>>,
    pub routes: BTreeMap<DatabaseName, Option<Routes>>,
    pub nodes: BTreeMap<NodeId, Option<Node>>,
    pub groups: BTreeMap<GroupName, Option<SidecarGroup>>,
    pub addresses: BTreeMap<Endpoint, Option<Vec<SocketAddr>>>,
}

impl Catalog {
    /// What was written by the commits after `after`; the whole catalogue without it, and when
    /// the store no longer knows what was written since. No commit is seen in part.
    pub async fn changes(&self, after: Option<Revision>) -> Result<CatalogChanges, CatalogError> {
        let prefixes = [ADDRESSES, DATABASES, GROUPS, NODES, ROUTES, SERVERS];
        let store::Changes {
            revision,
            complete,
            values,
        } = self.store.changes(&prefixes, after).await?;
        let mut changes = CatalogChanges {
            revision,
            complete,
            ..CatalogChanges::default()
        };
        for (key, value) in &values {
            changes.take(key, value.as_ref())?;
        }
        Ok(changes)
    }
}

impl CatalogChanges {
    fn take(&mut self, key: &Key, value: Option<&Versioned>) -> Result<(), StoreError> {
        let Some(slash) = key.as_str().find('/') else {
            return Ok(());
        };
        match &key.as_str()[..=slash] {
            ADDRESSES => insert(&mut self.addresses, ADDRESSES, key, value),
            DATABASES => insert(&mut self.databases, DATABASES, key, value),
            GROUPS => insert(&mut self.groups, GROUPS, key, value),
            NODES => insert(&mut self.nodes, NODES, key, value),
            ROUTES => insert(&mut self.routes, ROUTES, key, value),
            SERVERS => insert(&mut self.servers, SERVERS, key, value),
            _ => Ok(()),
        }
    }
}

fn insert<N, T>(
    into: &mut BTreeMap<N, Option<T>>,
    prefix: &str,
    key: &Key,
    value: Option<&Versioned>,
) -> Result<(), StoreError>
where
    N: TryFrom<String, Error: fmt::Display> + Ord,
    T: Record,
{
    let value = match value {
        Some(stored) => Some(decode(key, &stored.value)?),
        None => None,
    };
    into.insert(name(prefix, key)?, value);
    Ok(())
}
