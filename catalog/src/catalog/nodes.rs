//! The registered sidecars: the denominator of every barrier.

use super::{Catalog, CatalogError, NODES, key, retried, write};
use crate::{
    Node, NodeId,
    store::{Precondition, Write},
};

/// What registering a node did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Registered {
    New,
    Unchanged,
    /// Its listen address is another one now.
    Moved,
}

impl Catalog {
    /// Registers a sidecar, or moves it to another listen address.
    pub async fn register(&self, node: Node) -> Result<Registered, CatalogError> {
        retried(|| self.try_register(&node)).await
    }

    /// Takes a sidecar off the registry; barriers that begin from now on do not count it.
    ///
    /// # Errors
    /// [`CatalogError::UnknownNode`], with those that are registered.
    pub async fn retire(&self, id: &NodeId) -> Result<(), CatalogError> {
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

    async fn try_register(&self, node: &Node) -> Result<Registered, CatalogError> {
        let at = key(NODES, &node.id);
        let (when, outcome) = match self.value::<Node>(&at).await? {
            None => (Precondition::Absent, Registered::New),
            Some((known, _)) if known.listen == node.listen => return Ok(Registered::Unchanged),
            Some((_, revision)) => (Precondition::At(revision), Registered::Moved),
        };
        self.store.commit(vec![write(at, node, when)?]).await?;
        Ok(outcome)
    }

    async fn try_retire(&self, id: &NodeId) -> Result<(), CatalogError> {
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
}
