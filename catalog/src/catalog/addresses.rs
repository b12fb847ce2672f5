//! The addresses that endpoints were last resolved to.

use std::{collections::BTreeMap, net::SocketAddr};

use super::{ADDRESSES, Catalog, CatalogError, key, write};
use crate::{
    Endpoint,
    store::{
        Precondition, Revision,
        record::{Format, Record},
    },
};

/// The addresses of one endpoint.
impl Record for Vec<SocketAddr> {
    const FORMAT: Format = Format(1);
}

impl Catalog {
    /// The addresses of each endpoint that was ever resolved. They are kept here, so that a
    /// start while a name server is away finds the addresses that sidecars use already.
    pub async fn addresses(&self) -> Result<BTreeMap<Endpoint, Vec<SocketAddr>>, CatalogError> {
        let stored = self.values::<Endpoint, Vec<SocketAddr>>(ADDRESSES).await?;
        let addresses = stored.into_iter().map(|(name, (found, _))| (name, found));
        Ok(addresses.collect())
    }

    /// Records what endpoints resolve to now, in one commit. Returns its revision; `None` if
    /// there is nothing to record.
    pub async fn record_addresses(
        &self,
        found: &BTreeMap<Endpoint, Vec<SocketAddr>>,
    ) -> Result<Option<Revision>, CatalogError> {
        if found.is_empty() {
            return Ok(None);
        }
        let writes = found
            .iter()
            .map(|(endpoint, found)| write(key(ADDRESSES, endpoint), found, Precondition::Any))
            .collect::<Result<_, _>>()?;
        Ok(Some(self.store.commit(writes).await?))
    }
}
