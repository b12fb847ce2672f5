//! The registered sidecars. Every barrier waits for them.

use std::collections::BTreeSet;

use super::{Catalog, CatalogError, NODES, key, retried, write};
use crate::{
    DatabaseName, Node, NodeId,
    store::{Precondition, Revision, Write},
};

/// The effect of registering a node.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Registered {
    New,
    Unchanged,
    /// Its listen address has changed.
    Moved,
    /// Its databases have changed, by [`Catalog::entitle`].
    Changed,
}

/// What registering a node did, and the commit that holds it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Registration {
    pub outcome: Registered,
    /// `None` if nothing was changed.
    pub revision: Option<Revision>,
}

impl Catalog {
    /// Registers a sidecar, or moves it to another listen address. Whether one that is
    /// registered already is a canary, and which databases exist for it, stays as it is.
    pub async fn register(&self, node: Node) -> Result<Registration, CatalogError> {
        retried(|| self.try_register(&node)).await
    }

    /// Makes a registered sidecar a canary, or an ordinary one again. Returns the commit,
    /// if that changed anything.
    ///
    /// # Errors
    /// [`CatalogError::UnknownNode`], with those that are registered.
    pub async fn set_canary(
        &self,
        id: &NodeId,
        canary: bool,
    ) -> Result<Option<Revision>, CatalogError> {
        retried(|| self.try_set_canary(id, canary)).await
    }

    /// Says which databases exist for a registered sidecar, `None` for all. Returns the
    /// commit, if that changed anything.
    ///
    /// # Errors
    /// [`CatalogError::UnknownNode`], with those that are registered;
    /// [`CatalogError::UnknownDatabase`], with those that are declared.
    pub async fn entitle(
        &self,
        id: &NodeId,
        databases: Option<BTreeSet<DatabaseName>>,
    ) -> Result<Option<Revision>, CatalogError> {
        for name in databases.iter().flatten() {
            self.database(name).await?;
        }
        retried(|| self.try_entitle(id, databases.as_ref())).await
    }

    /// Takes a sidecar off the registry; barriers that begin from now on do not count it. Returns
    /// the commit.
    ///
    /// # Errors
    /// [`CatalogError::UnknownNode`], with those that are registered.
    pub async fn retire(&self, id: &NodeId) -> Result<Revision, CatalogError> {
        retried(|| self.try_retire(id)).await
    }

    /// Every registered sidecar, by name.
    pub async fn nodes(&self) -> Result<Vec<Node>, CatalogError> {
        self.all(NODES).await
    }

    /// The sidecar `id`, if it is registered.
    pub async fn node(&self, id: &NodeId) -> Result<Option<Node>, CatalogError> {
        Ok(self.value(&key(NODES, id)).await?.map(|(node, _)| node))
    }

    async fn try_register(&self, node: &Node) -> Result<Registration, CatalogError> {
        let at = key(NODES, &node.id);
        let mut node = node.clone();
        let (when, outcome) = match self.value::<Node>(&at).await? {
            None => (Precondition::Absent, Registered::New),
            Some((known, _)) if known.listen == node.listen => {
                return Ok(Registration {
                    outcome: Registered::Unchanged,
                    revision: None,
                });
            }
            Some((known, revision)) => {
                node.canary = known.canary;
                node.databases = known.databases;
                (Precondition::At(revision), Registered::Moved)
            }
        };
        let revision = self.store.commit(vec![write(at, &node, when)?]).await?;
        Ok(Registration {
            outcome,
            revision: Some(revision),
        })
    }

    async fn try_set_canary(
        &self,
        id: &NodeId,
        canary: bool,
    ) -> Result<Option<Revision>, CatalogError> {
        self.try_change(id, |node| node.canary = canary).await
    }

    async fn try_entitle(
        &self,
        id: &NodeId,
        databases: Option<&BTreeSet<DatabaseName>>,
    ) -> Result<Option<Revision>, CatalogError> {
        self.try_change(id, |node| node.databases = databases.cloned())
            .await
    }

    async fn try_change(
        &self,
        id: &NodeId,
        change: impl FnOnce(&mut Node),
    ) -> Result<Option<Revision>, CatalogError> {
        let at = key(NODES, id);
        let Some((node, revision)) = self.value::<Node>(&at).await? else {
            return Err(self.unknown_node(id).await?);
        };
        let mut changed = node.clone();
        change(&mut changed);
        if changed == node {
            return Ok(None);
        }
        let write = write(at, &changed, Precondition::At(revision))?;
        Ok(Some(self.store.commit(vec![write]).await?))
    }

    async fn unknown_node(&self, id: &NodeId) -> Result<CatalogError, CatalogError> {
        Ok(CatalogError::UnknownNode {
            name: id.clone(),
            known: self.names(NODES).await?,
        })
    }

    async fn try_retire(&self, id: &NodeId) -> Result<Revision, CatalogError> {
        let at = key(NODES, id);
        let Some((_, revision)) = self.value::<Node>(&at).await? else {
            return Err(self.unknown_node(id).await?);
        };
        let write = Write {
            key: at,
            value: None,
            when: Precondition::At(revision),
        };
        Ok(self.store.commit(vec![write]).await?)
    }
}
