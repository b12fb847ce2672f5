//! Which resources another one needs: what a client asks for because of it, and waits for
//! before it uses it. Only the fields that say so are decoded.

mod heads;

use std::sync::Arc;

use envoy_types::pb::envoy::config::cluster::v3::cluster::DiscoveryType;
use prost::Message as _;

use self::heads::{
    AnyHead, ClusterHead, CommonTlsContextHead, FilterChainHead, HttpConnectionManagerHead,
    ListenerHead, QuicTransportHead, SdsSecretConfigHead, StartTlsHead, TlsContextHead,
    TransportSocketHead,
};
use super::ResourceType;

/// A type, and a name of it.
pub(super) type Reference = (ResourceType, Arc<str>);

/// What a resource refers to, each once. A body that does not decode refers to nothing: the
/// client will refuse it by itself.
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

/// A cluster of type EDS asks for its endpoints, by its own name unless it gives another.
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
        let service = cluster
            .eds_cluster_config
            .map(|config| config.service_name)
            .unwrap_or_default();
        let endpoints = if service.is_empty() {
            Arc::clone(name)
        } else {
            service.into()
        };
        found.push((ResourceType::Endpoints, endpoints));
    }
    found
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
        // Without a source the secret is one of the client's own.
        .filter(|config| config.sds_config.is_some() && !config.name.is_empty())
        .map(|SdsSecretConfigHead { name, .. }| (ResourceType::Secret, name.into()))
        .collect()
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

impl AnyHead {
    fn is(&self, message: &str) -> bool {
        self.type_url
            .rsplit_once('/')
            .is_some_and(|(_, name)| name == message)
    }
}

#[cfg(test)]
mod tests;
