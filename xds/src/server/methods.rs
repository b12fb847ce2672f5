//! The methods of the discovery and telemetry services, by path.

use super::telemetry::Subject;
use crate::{resource::ResourceType, stream::Transport};

/// The method that a path names.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Method {
    Stream {
        transport: Transport,
        /// The type of a service that serves one type.
        kind: Option<ResourceType>,
    },
    /// A method of a discovery service that is not supported: single requests, and virtual hosts in
    /// state of the world, which the protocol does not have.
    NotOffered,
    Reports(Subject),
}

/// The method of a path; `None` for other services.
pub(super) fn method(path: &str) -> Option<Method> {
    let (service, name) = path.strip_prefix("/envoy.service.")?.split_once('/')?;
    match (service, name) {
        ("accesslog.v3.AccessLogService", "StreamAccessLogs") => {
            return Some(Method::Reports(Subject::AccessLogs));
        }
        ("metrics.v3.MetricsService", "StreamMetrics") => {
            return Some(Method::Reports(Subject::Metrics));
        }
        _ => {}
    }
    let (_, noun, kind) = SERVICES.into_iter().find(|(known, ..)| *known == service)?;
    let method = match (name.strip_suffix(noun)?, kind) {
        ("Delta", kind) => Method::Stream {
            transport: Transport::Delta,
            kind,
        },
        ("Stream" | "Fetch", Some(ResourceType::VirtualHost)) | ("Fetch", Some(_)) => {
            Method::NotOffered
        }
        ("Stream", kind) => Method::Stream {
            transport: Transport::StateOfTheWorld,
            kind,
        },
        _ => return None,
    };
    Some(method)
}

/// Service, the noun in the names of its methods, and its type.
const SERVICES: [(&str, &str, Option<ResourceType>); 10] = [
    (
        "discovery.v3.AggregatedDiscoveryService",
        "AggregatedResources",
        None,
    ),
    (
        "cluster.v3.ClusterDiscoveryService",
        "Clusters",
        Some(ResourceType::Cluster),
    ),
    (
        "endpoint.v3.EndpointDiscoveryService",
        "Endpoints",
        Some(ResourceType::Endpoints),
    ),
    (
        "extension.v3.ExtensionConfigDiscoveryService",
        "ExtensionConfigs",
        Some(ResourceType::Extension),
    ),
    (
        "listener.v3.ListenerDiscoveryService",
        "Listeners",
        Some(ResourceType::Listener),
    ),
    (
        "route.v3.ScopedRoutesDiscoveryService",
        "ScopedRoutes",
        Some(ResourceType::ScopedRoute),
    ),
    (
        "route.v3.RouteDiscoveryService",
        "Routes",
        Some(ResourceType::Route),
    ),
    (
        "route.v3.VirtualHostDiscoveryService",
        "VirtualHosts",
        Some(ResourceType::VirtualHost),
    ),
    (
        "secret.v3.SecretDiscoveryService",
        "Secrets",
        Some(ResourceType::Secret),
    ),
    (
        "runtime.v3.RuntimeDiscoveryService",
        "Runtime",
        Some(ResourceType::Runtime),
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_transport_and_type() {
        let stream = |transport, kind| Some(Method::Stream { transport, kind });
        assert_eq!(
            method(
                "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
            ),
            stream(Transport::Delta, None)
        );
        assert_eq!(
            method("/envoy.service.endpoint.v3.EndpointDiscoveryService/StreamEndpoints"),
            stream(Transport::StateOfTheWorld, Some(ResourceType::Endpoints))
        );
        assert_eq!(
            method("/envoy.service.runtime.v3.RuntimeDiscoveryService/DeltaRuntime"),
            stream(Transport::Delta, Some(ResourceType::Runtime))
        );
        for not_offered in [
            "/envoy.service.cluster.v3.ClusterDiscoveryService/FetchClusters",
            "/envoy.service.route.v3.VirtualHostDiscoveryService/StreamVirtualHosts",
        ] {
            assert_eq!(method(not_offered), Some(Method::NotOffered));
        }
        assert_eq!(
            method("/envoy.service.metrics.v3.MetricsService/StreamMetrics"),
            Some(Method::Reports(Subject::Metrics))
        );
        for foreign in [
            "/",
            "/envoy.service.metrics.v3.MetricsService/StreamAccessLogs",
            "/envoy.service.cluster.v3.ClusterDiscoveryService/DeltaEndpoints",
            "/envoy.service.discovery.v3.AggregatedDiscoveryService/FetchAggregatedResources",
        ] {
            assert_eq!(method(foreign), None);
        }
    }

    #[test]
    fn every_type_has_its_service() {
        for kind in ResourceType::ALL {
            assert!(SERVICES.iter().any(|service| service.2 == Some(kind)));
        }
    }
}
