use pointsman_catalog::{DatabaseName, Role};

/// `node.cluster` of every sidecar.
pub const NODE_CLUSTER: &str = "pointsman";

/// The static cluster through which a sidecar reaches its control plane: xDS, access log
/// and metrics.
pub const CONTROL_PLANE_CLUSTER: &str = "xds";

/// The static cluster through which a sidecar reaches the cache beside it.
pub(crate) const CACHE_CLUSTER: &str = "cache";

/// `node.user_agent_name` of the cache beside a sidecar, which asks for the sidecar's configuration
/// without being one. Envoy always calls itself `envoy` there, so that no sidecar can pass for a cache by
/// its bootstrap.
pub const CACHE_USER_AGENT: &str = "pointsman-sidecar-cache";

/// The runtime layer that each sidecar asks for (RTDS).
pub const RUNTIME_LAYER: &str = "pointsman";

/// `log_name` of the access log entries that sidecars stream back.
pub const ACCESS_LOG_NAME: &str = "pointsman";

/// Name of the listener, cluster and load assignment of one route: `writer.<database>` or
/// `reader.<database>`.
pub fn route_name(role: Role, database: &DatabaseName) -> String {
    match role {
        Role::Writer => format!("writer.{database}"),
        Role::Reader => format!("reader.{database}"),
    }
}

/// Name of the cluster through which sidecars try servers that do not serve yet.
pub fn probe_name(database: &DatabaseName) -> String {
    format!("probe.{database}")
}

/// What statistics and access log call the cluster `name`: `writer/orders` for
/// `writer.orders`. Envoy ends a tag's value at the first dot, so with dots in it every
/// writer would report as one cluster `writer`.
pub fn stat_name(name: &str) -> String {
    name.replace('.', "/")
}

/// The cluster's name again, from what [`stat_name`] made of it. Names have no `/`.
pub fn cluster_of_stat_name(stat_name: &str) -> String {
    stat_name.replace('/', ".")
}

/// The route whose name [`route_name`] made; `None` for any other name.
pub fn route_of_name(name: &str) -> Option<(Role, DatabaseName)> {
    let (role, database) = name.split_once('.')?;
    let role = match role {
        "writer" => Role::Writer,
        "reader" => Role::Reader,
        _ => return None,
    };
    Some((role, DatabaseName::new(database).ok()?))
}

/// The database whose probe's name [`probe_name`] made; `None` for any other name.
pub fn probed_database(name: &str) -> Option<DatabaseName> {
    DatabaseName::new(name.strip_prefix("probe.")?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_name_has_no_dot_and_leads_back_to_its_cluster() {
        let database = DatabaseName::new("shop.orders_1-eu").unwrap();
        for name in [route_name(Role::Writer, &database), probe_name(&database)] {
            assert!(!stat_name(&name).contains('.'), "{name}");
            assert_eq!(cluster_of_stat_name(&stat_name(&name)), name);
        }
    }

    #[test]
    fn a_name_leads_back_to_its_route_and_no_other_does() {
        let database = DatabaseName::new("shop.orders_1-eu").unwrap();
        for role in [Role::Writer, Role::Reader] {
            let name = route_name(role, &database);
            assert_eq!(route_of_name(&name), Some((role, database.clone())));
        }
        let probe = probe_name(&database);
        assert_eq!(probed_database(&probe), Some(database));
        for foreign in [&probe, "xds", "writer", "writer.", "writer.Orders"] {
            assert_eq!(route_of_name(foreign), None, "{foreign}");
        }
        assert_eq!(probed_database("writer.orders"), None);
    }
}
