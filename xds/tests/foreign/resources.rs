//! What a gRPC client asks for, one after the other: its listener, the route, the cluster, the
//! endpoints.

#[path = "../../examples/flip/resources.rs"]
#[expect(dead_code, reason = "the example is for Envoy")]
mod flip;

use std::time::Duration;

use envoy_types::{
    pb::envoy::{
        config::{
            listener::v3::{ApiListener, Listener},
            route::v3::{
                Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost, route::Action,
                route_action::ClusterSpecifier, route_match::PathSpecifier,
            },
        },
        extensions::filters::{
            http::router::v3::Router,
            network::http_connection_manager::v3::{
                HttpConnectionManager, HttpFilter, Rds, http_connection_manager::RouteSpecifier,
                http_filter::ConfigType,
            },
        },
    },
    util::pack_any,
};
use pointsman_xds::{Resource, ResourceType};

use self::flip::{cluster, endpoints, over_ads, resource};

/// The service `names.test`, at this port; gRPC refuses one above 65535.
pub(crate) fn service(port: u32) -> Vec<Resource> {
    vec![
        resource(ResourceType::Listener, "names.test", &listener()),
        resource(ResourceType::Route, "route", &route()),
        cluster("names", Duration::from_secs(1)),
        endpoints("names", port),
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
            config_source: Some(over_ads()),
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
