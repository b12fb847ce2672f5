use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{PoisonError, RwLock},
};

use pointsman_catalog::ServerName;

/// The addresses that servers' endpoints resolved to, as last published. It can be asked
/// without waiting for a publish.
#[derive(Debug, Default)]
pub(crate) struct AddressBook {
    servers: RwLock<BTreeMap<ServerName, Vec<SocketAddr>>>,
}

impl AddressBook {
    pub(super) fn replace(&self, servers: BTreeMap<ServerName, Vec<SocketAddr>>) {
        *self.servers.write().unwrap_or_else(PoisonError::into_inner) = servers;
    }

    /// What the endpoint of `server` resolved to; nothing if it never did.
    pub(crate) fn addresses(&self, server: &ServerName) -> Vec<SocketAddr> {
        let servers = self.servers.read().unwrap_or_else(PoisonError::into_inner);
        servers.get(server).cloned().unwrap_or_default()
    }

    /// The server whose endpoint resolved to `address`.
    pub(crate) fn server_at(&self, address: SocketAddr) -> Option<ServerName> {
        let servers = self.servers.read().unwrap_or_else(PoisonError::into_inner);
        let mut servers = servers.iter();
        let found = servers.find(|(_, addresses)| addresses.contains(&address));
        found.map(|(server, _)| server.clone())
    }
}
