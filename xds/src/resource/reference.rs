//! The resources that another resource refers to: a client requests them because of it, and needs
//! them before it uses it. Only the fields with references are decoded.

mod heads;

use std::sync::Arc;

use envoy_types::pb::envoy::config::cluster::v3::cluster::DiscoveryType;
use prost::Message as _;

use self::heads::{
    AnyHead, ClusterHead, CommonTlsContextHead, ConfigSourceHead, EdsClusterConfigHead,
    FilterChainHead, HttpConnectionManagerHead, ListenerHead, QuicTransportHead,
    SdsSecretConfigHead, StartTlsHead, TlsContextHead, TransportSocketHead,
};
use super::ResourceType;

/// The type and the name of a resource.
pub(super) type Reference = (ResourceType, Arc<str>);

/// The references of a resource, without duplicates. A body that does not decode has none; the client
/// will NACK it.
pub(super) fn of(kind: ResourceType, name: &Arc<str>, body: &[u8]) -> Box<[Reference]> {
    let mut found = match kind {
        ResourceType::Cluster => of_cluster(name, body),
        ResourceType::Listener => of_listener(body),
        ResourceType::Endpoints
        | ResourceType::Extension
        | ResourceType::ScopedRoute
        | ResourceType::Route
        | ResourceType::VirtualHost
        | ResourceType::Secret
        | ResourceType::Runtime => Vec::new(),
    };
    found.sort_unstable();
    found.dedup();
    found.into()
}

/// An EDS cluster refers to its endpoints, by its own name unless it has a service name. If it names
/// another config source, the endpoints are not requested from this server.
fn of_cluster(name: &Arc<str>, body: &[u8]) -> Vec<Reference> {
    let Ok(cluster) = ClusterHead::decode(body) else {
        return Vec::new();
    };
    let sockets = cluster.transport_socket.into_iter().chain(
        cluster
            .transport_socket_matches
            .into_iter()
            .filter_map(|m| m.transport_socket),
    );
    let mut found: Vec<_> = sockets.flat_map(secrets).collect();
    if cluster.discovery_type == Some(DiscoveryType::Eds as i32) {
        found.extend(endpoints(
            name,
            cluster.eds_cluster_config.unwrap_or_default(),
        ));
    }
    found
}

fn endpoints(cluster: &Arc<str>, config: EdsClusterConfigHead) -> Option<Reference> {
    if config
        .eds_config
        .is_some_and(|source| source.is_elsewhere())
    {
        return None;
    }
    let name = if config.service_name.is_empty() {
        Arc::clone(cluster)
    } else {
        config.service_name.into()
    };
    Some((ResourceType::Endpoints, name))
}

fn of_listener(body: &[u8]) -> Vec<Reference> {
    let Ok(listener) = ListenerHead::decode(body) else {
        return Vec::new();
    };
    let api = listener.api_listener.and_then(|api| api.api_listener);
    listener
        .filter_chains
        .into_iter()
        .chain(listener.default_filter_chain)
        .flat_map(of_filter_chain)
        .chain(api.into_iter().filter_map(route))
        .collect()
}

fn of_filter_chain(chain: FilterChainHead) -> Vec<Reference> {
    let filters = chain.filters.into_iter();
    let routes = filters.filter_map(|filter| route(filter.typed_config?));
    routes
        .chain(chain.transport_socket.into_iter().flat_map(secrets))
        .collect()
}

fn route(filter: AnyHead) -> Option<Reference> {
    if !filter
        .is("envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager")
    {
        return None;
    }
    let manager = HttpConnectionManagerHead::decode(&*filter.value).ok()?;
    let name = manager.rds?.route_config_name;
    (!name.is_empty()).then(|| (ResourceType::Route, name.into()))
}

fn secrets(socket: TransportSocketHead) -> Vec<Reference> {
    let context = socket.typed_config.and_then(|config| tls_context(&config));
    let Some(common) = context.and_then(|context| context.common_tls_context) else {
        return Vec::new();
    };
    let CommonTlsContextHead {
        tls_certificate_sds_secret_configs: certificates,
        validation_context_sds_secret_config: validation,
        combined_validation_context: combined,
    } = common;
    let combined = combined.and_then(|combined| combined.validation_context_sds_secret_config);
    certificates
        .into_iter()
        .chain(validation)
        .chain(combined)
        .filter_map(secret)
        .collect()
}

fn secret(config: SdsSecretConfigHead) -> Option<Reference> {
    // Without a config source the secret is static.
    let source = config.sds_config?;
    let asked = !source.is_elsewhere() && !config.name.is_empty();
    asked.then(|| (ResourceType::Secret, config.name.into()))
}

fn tls_context(socket: &AnyHead) -> Option<TlsContextHead> {
    const SOCKETS: &str = "envoy.extensions.transport_sockets.";
    let socket_type = socket.type_url.rsplit_once('/')?.1.strip_prefix(SOCKETS)?;
    match socket_type {
        "tls.v3.DownstreamTlsContext" | "tls.v3.UpstreamTlsContext" => {
            TlsContextHead::decode(&*socket.value).ok()
        }
        "quic.v3.QuicDownstreamTransport" | "quic.v3.QuicUpstreamTransport" => {
            QuicTransportHead::decode(&*socket.value).ok()?.tls_context
        }
        "starttls.v3.StartTlsConfig" | "starttls.v3.UpstreamStartTlsConfig" => {
            StartTlsHead::decode(&*socket.value).ok()?.tls_socket_config
        }
        _ => None,
    }
}

impl ConfigSourceHead {
    /// Whether it is a file or another stream.
    fn is_elsewhere(&self) -> bool {
        self.path.is_some() || self.path_config_source.is_some() || self.api_config_source.is_some()
    }
}

impl AnyHead {
    fn is(&self, message: &str) -> bool {
        self.type_url
            .rsplit_once('/')
            .is_some_and(|(_, name)| name == message)
    }
}

#[cfg(test)]
mod tests;
