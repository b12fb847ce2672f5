//! What a gRPC client asks for, one after the other: its listener, the route, the cluster, the
//! endpoints.

use std::net::Ipv4Addr;

use bytes::Bytes;
use envoy_types::{
    pb::{
        envoy::{
            config::{
                cluster::v3::{
                    Cluster,
                    cluster::{ClusterDiscoveryType, DiscoveryType, EdsClusterConfig},
                },
                core::v3::{
                    Address, AggregatedConfigSource, ApiVersion, ConfigSource, Locality,
                    SocketAddress, address, config_source::ConfigSourceSpecifier,
                    socket_address::PortSpecifier,
                },
                endpoint::v3::{
                    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints,
                    lb_endpoint::HostIdentifier,
                },
                listener::v3::{ApiListener, Listener},
                route::v3::{
                    Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost, route::Action,
                    route_action::ClusterSpecifier, route_match::PathSpecifier,
                },
            },
            extensions::filters::{
                http::router::v3::Router,
                network::http_connection_manager::v3::{
                    HttpConnectionManager, HttpFilter, Rds,
                    http_connection_manager::RouteSpecifier, http_filter::ConfigType,
                },
            },
        },
        google::protobuf::UInt32Value,
    },
    util::pack_any,
};
use pointsman_xds::{Resource, ResourceType};
use prost::Message;

/// The service `names.test`, at this port; gRPC refuses one above 65535.
pub(crate) fn service(port: u32) -> Vec<Resource> {
    vec![
        resource(ResourceType::Listener, "names.test", &listener()),
        resource(ResourceType::Route, "route", &route()),
        resource(ResourceType::Cluster, "names", &cluster()),
        resource(ResourceType::Endpoints, "names", &endpoints(port)),
    ]
}

fn listener() -> Listener {
    let router = HttpFilter {
        name: "router".to_owned(),
        config_type: Some(ConfigType::TypedConfig(pack_any(Router::default()))),
        ..Default::default()
    };
    let manager = HttpConnectionManager {
        route_specifier: Some(RouteSpecifier::Rds(Rds {
            config_source: over_ads(),
            route_config_name: "route".to_owned(),
        })),
        http_filters: vec![router],
        ..Default::default()
    };
    Listener {
        name: "names.test".to_owned(),
        api_listener: Some(ApiListener {
            api_listener: Some(pack_any(manager)),
        }),
        ..Default::default()
    }
}

fn route() -> RouteConfiguration {
    let everything = RouteMatch {
        path_specifier: Some(PathSpecifier::Prefix(String::new())),
        ..Default::default()
    };
    let to_the_cluster = RouteAction {
        cluster_specifier: Some(ClusterSpecifier::Cluster("names".to_owned())),
        ..Default::default()
    };
    RouteConfiguration {
        name: "route".to_owned(),
        virtual_hosts: vec![VirtualHost {
            name: "all".to_owned(),
            domains: vec!["names.test".to_owned()],
            routes: vec![Route {
                r#match: Some(everything),
                action: Some(Action::Route(to_the_cluster)),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn cluster() -> Cluster {
    Cluster {
        name: "names".to_owned(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds as i32)),
        eds_cluster_config: Some(EdsClusterConfig {
            eds_config: over_ads(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn endpoints(port: u32) -> ClusterLoadAssignment {
    let address = Address {
        address: Some(address::Address::SocketAddress(SocketAddress {
            address: Ipv4Addr::LOCALHOST.to_string(),
            port_specifier: Some(PortSpecifier::PortValue(port)),
            ..Default::default()
        })),
    };
    let endpoint = LbEndpoint {
        host_identifier: Some(HostIdentifier::Endpoint(Endpoint {
            address: Some(address),
            ..Default::default()
        })),
        ..Default::default()
    };
    ClusterLoadAssignment {
        cluster_name: "names".to_owned(),
        endpoints: vec![LocalityLbEndpoints {
            locality: Some(Locality {
                region: "here".to_owned(),
                ..Default::default()
            }),
            lb_endpoints: vec![endpoint],
            // A locality without a weight gets nothing.
            load_balancing_weight: Some(UInt32Value { value: 1 }),
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn over_ads() -> Option<ConfigSource> {
    Some(ConfigSource {
        resource_api_version: ApiVersion::V3 as i32,
        config_source_specifier: Some(ConfigSourceSpecifier::Ads(AggregatedConfigSource {})),
        ..Default::default()
    })
}

fn resource(kind: ResourceType, name: &str, message: &impl Message) -> Resource {
    Resource::new(kind, name, Bytes::from(message.encode_to_vec()))
}
