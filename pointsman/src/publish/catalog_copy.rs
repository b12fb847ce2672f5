use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use pointsman_catalog::{
    CatalogChanges, Database, DatabaseName, Endpoint, GroupName, Node, NodeId, Routes, Server,
    ServerName, SidecarGroup,
};

/// The catalogue as the follower last read it.
#[derive(Debug, Default)]
pub(super) struct CatalogCopy {
    pub(super) databases: BTreeMap<DatabaseName, Database>,
    pub(super) routes: BTreeMap<DatabaseName, Routes>,
    pub(super) nodes: BTreeMap<NodeId, Node>,
    pub(super) groups: BTreeMap<GroupName, SidecarGroup>,
    /// The addresses of each server whose endpoint was ever resolved.
    pub(super) addresses: BTreeMap<ServerName, Vec<SocketAddr>>,
    servers: BTreeMap<ServerName, Server>,
    resolved: BTreeMap<Endpoint, Vec<SocketAddr>>,
}

/// The parts of the copy that a commit changed.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct Affected {
    /// The whole catalogue was read.
    pub(super) everything: bool,
    /// Servers have other endpoints, or endpoints other addresses.
    pub(super) addresses: bool,
    /// The databases whose declaration or routes were written.
    pub(super) databases: BTreeSet<DatabaseName>,
    /// The declaration of one of `databases` was written.
    pub(super) declarations: bool,
    /// Sidecars or sidecar groups were registered, changed or removed.
    pub(super) nodes: bool,
}

impl CatalogCopy {
    /// Takes over what was written, and says what that affects.
    pub(super) fn take(&mut self, changes: CatalogChanges) -> Affected {
        let CatalogChanges {
            revision: _,
            complete,
            servers,
            databases,
            routes,
            nodes,
            groups,
            addresses,
        } = changes;
        if complete {
            *self = Self::default();
        }
        let affected = Affected {
            everything: complete,
            addresses: complete || !servers.is_empty() || !addresses.is_empty(),
            databases: databases.keys().chain(routes.keys()).cloned().collect(),
            declarations: complete || !databases.is_empty(),
            nodes: complete || !nodes.is_empty() || !groups.is_empty(),
        };
        merge(&mut self.servers, servers);
        merge(&mut self.databases, databases);
        merge(&mut self.routes, routes);
        merge(&mut self.nodes, nodes);
        merge(&mut self.groups, groups);
        merge(&mut self.resolved, addresses);
        if affected.addresses {
            self.addresses = self.resolve();
        }
        affected
    }

    fn resolve(&self) -> BTreeMap<ServerName, Vec<SocketAddr>> {
        let resolved = |(name, server): (&ServerName, &Server)| {
            let addresses = self.resolved.get(&server.endpoint)?;
            Some((name.clone(), addresses.clone()))
        };
        self.servers.iter().filter_map(resolved).collect()
    }
}

impl Affected {
    pub(super) fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

fn merge<K: Ord, V>(into: &mut BTreeMap<K, V>, changes: BTreeMap<K, Option<V>>) {
    for (key, value) in changes {
        match value {
            Some(value) => into.insert(key, value),
            None => into.remove(&key),
        };
    }
}

#[cfg(test)]
mod tests {
    use pointsman_catalog::FenceLevel;

    use super::*;

    fn name(name: &str) -> ServerName {
        ServerName::new(name).unwrap()
    }

    fn server(endpoint: &str) -> CatalogChanges {
        let server = Server {
            name: name("blue"),
            endpoint: endpoint.parse().unwrap(),
            control: String::new(),
            control_password: None,
            replication: None,
            replication_password: None,
            probe: None,
            probe_password: None,
            fence: FenceLevel::Sql,
        };
        CatalogChanges {
            servers: [(name("blue"), Some(server))].into(),
            ..CatalogChanges::default()
        }
    }

    #[test]
    fn another_endpoint_does_not_inherit_the_addresses_of_the_former() {
        let mut copy = CatalogCopy::default();
        let address: SocketAddr = "10.0.0.1:5432".parse().unwrap();
        let resolved = CatalogChanges {
            addresses: [("db.example:5432".parse().unwrap(), Some(vec![address]))].into(),
            ..server("db.example:5432")
        };
        assert!(copy.take(resolved).addresses);
        assert_eq!(copy.addresses, [(name("blue"), vec![address])].into());
        assert!(copy.take(server("other.example:5432")).addresses);
        assert_eq!(copy.addresses, BTreeMap::new());
    }

    #[test]
    fn a_complete_reading_forgets_what_is_not_in_it() {
        let mut copy = CatalogCopy::default();
        copy.take(server("db.example:5432"));
        let empty = CatalogChanges {
            complete: true,
            ..CatalogChanges::default()
        };
        assert!(copy.take(empty).everything);
        assert_eq!(copy.servers.len(), 0);
    }
}
