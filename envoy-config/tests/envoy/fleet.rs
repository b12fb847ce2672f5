use std::net::{IpAddr, SocketAddr};

use pointsman_catalog::{
    Database, DatabaseName, Epoch, ListenPorts, Route, Routes, ServerName, UnixMillis,
};
use pointsman_envoy_config::{
    Rendered, ServedDatabase,
    resources::{Addresses, listeners, shared},
};

/// Databases, and the addresses of servers `blue`, `green` and `v6`.
pub(crate) struct Fleet {
    pub(crate) databases: Vec<(Database, Routes)>,
    addresses: Addresses,
}

impl Fleet {
    /// A database for each state in which a route can be; those that are held are so until
    /// `until`.
    pub(crate) fn with_every_route(
        blue: SocketAddr,
        until: UnixMillis,
        mut ports: impl FnMut() -> u16,
    ) -> Self {
        let hold = |from: Vec<ServerName>| Route::Hold {
            from,
            since: UnixMillis::now(),
            until,
        };
        let moved = Route::Serve {
            servers: vec![server("green"), server("v6")],
            draining: vec![server("blue")],
        };
        let states = [
            ("served", Route::serve(vec![server("blue")])),
            ("moved.to_green-1", moved),
            ("held", hold(vec![server("blue"), server("v6")])),
            ("held-from-nowhere", hold(Vec::new())),
            ("refused", Route::Refuse),
        ];
        let databases = states.map(|(name, route)| (database(name, &mut ports), both(route)));
        let green = "10.1.1.22:5432".parse().unwrap();
        let v6 = "[2001:db8::1]:5432".parse().unwrap();
        Self {
            databases: databases.into(),
            addresses: [("blue", blue), ("green", green), ("v6", v6)]
                .map(|(name, at)| (server(name), vec![at]))
                .into(),
        }
    }

    pub(crate) fn serve_from_blue(&mut self, name: &str) {
        let found = self
            .databases
            .iter_mut()
            .find(|(known, _)| known.name.as_str() == name);
        found.unwrap().1 = both(Route::serve(vec![server("blue")]));
    }

    /// Where applications reach the writer of database `name` on a sidecar that listens on
    /// `listen`.
    pub(crate) fn writer(&self, listen: IpAddr, name: &str) -> SocketAddr {
        let found = self
            .databases
            .iter()
            .find(|(known, _)| known.name.as_str() == name);
        SocketAddr::new(listen, found.unwrap().0.listen.writer)
    }

    /// All resources of a sidecar that listens on `listen`.
    pub(crate) fn render(&self, listen: IpAddr) -> Vec<Rendered> {
        let probed = [server("green")];
        let served: Vec<_> = self
            .databases
            .iter()
            .map(|(database, routes)| ServedDatabase {
                database,
                routes,
                probe_targets: if routes.writer == Route::Refuse {
                    &[]
                } else {
                    &probed
                },
            })
            .collect();
        let mut resources = shared(&served, &self.addresses, UnixMillis::now()).unwrap();
        let databases = self.databases.iter().map(|(database, _)| database);
        resources.extend(listeners(listen, databases).unwrap());
        resources
    }
}

fn server(name: &str) -> ServerName {
    ServerName::new(name).unwrap()
}

fn both(route: Route) -> Routes {
    Routes {
        epoch: Epoch(1),
        writer: route.clone(),
        reader: route,
    }
}

fn database(name: &str, ports: &mut impl FnMut() -> u16) -> Database {
    Database {
        name: DatabaseName::new(name).unwrap(),
        datname: "orders".to_owned(),
        writer: server("blue"),
        readers: Vec::new(),
        listen: ListenPorts {
            writer: ports(),
            reader: ports(),
        },
    }
}
