//! An HTTP listener, and what it may take from the stream: routes, scopes, hosts, filters.

use envoy_types::{
    pb::{
        envoy::{
            config::{
                common::mutation_rules::v3::{HeaderMutation, header_mutation},
                core::v3::{
                    DataSource, ExtensionConfigSource, HeaderValue, HeaderValueOption,
                    TypedExtensionConfig, data_source,
                },
                listener::v3::{Listener, filter},
                route::v3::{
                    DirectResponseAction, Route, RouteConfiguration, RouteMatch,
                    ScopedRouteConfiguration, Vhds, VirtualHost,
                    route::Action,
                    route_match::PathSpecifier,
                    scoped_route_configuration::{
                        Key,
                        key::{Fragment, fragment},
                    },
                },
            },
            extensions::filters::{
                http::{
                    header_mutation::v3::{HeaderMutation as HeaderFilter, Mutations},
                    on_demand::v3::OnDemand,
                    router::v3::Router,
                },
                network::http_connection_manager::v3::{
                    HttpConnectionManager, HttpFilter, Rds, ScopedRds, ScopedRoutes,
                    http_connection_manager::RouteSpecifier,
                    http_filter::ConfigType,
                    scoped_routes::{
                        ConfigSpecifier, ScopeKeyBuilder,
                        scope_key_builder::{
                            FragmentBuilder,
                            fragment_builder::{
                                HeaderValueExtractor, Type, header_value_extractor::ExtractType,
                            },
                        },
                    },
                },
            },
            service::runtime::v3::Runtime,
        },
        google::protobuf,
    },
    util::pack_any,
};
use pointsman_xds::{Resource, ResourceType};
use prost::Name as _;

use crate::{
    resources::{listener, over_ads, resource, runtime},
    served_config::edited,
};

/// A host that answers all there is with `word`.
fn host(name: &str, domain: &str, word: &str) -> VirtualHost {
    let everything = RouteMatch {
        path_specifier: Some(PathSpecifier::Prefix("/".to_owned())),
        ..RouteMatch::default()
    };
    let body = DataSource {
        specifier: Some(data_source::Specifier::InlineString(word.to_owned())),
        ..DataSource::default()
    };
    let answer = DirectResponseAction {
        status: 200,
        body: Some(body),
        ..DirectResponseAction::default()
    };
    VirtualHost {
        name: name.to_owned(),
        domains: vec![domain.to_owned()],
        routes: vec![Route {
            r#match: Some(everything),
            action: Some(Action::DirectResponse(answer)),
            ..Route::default()
        }],
        ..VirtualHost::default()
    }
}

pub(crate) fn route(name: &str, word: &str) -> Resource {
    let route = RouteConfiguration {
        name: name.to_owned(),
        virtual_hosts: vec![host("all", "*", word)],
        ..RouteConfiguration::default()
    };
    resource(ResourceType::Route, name, &route)
}

pub(crate) fn by_route(name: &str) -> RouteSpecifier {
    RouteSpecifier::Rds(Rds {
        config_source: Some(over_ads()),
        route_config_name: name.to_owned(),
    })
}

fn filter(name: &str, config_type: ConfigType) -> HttpFilter {
    HttpFilter {
        name: name.to_owned(),
        config_type: Some(config_type),
        ..HttpFilter::default()
    }
}

/// A listener for HTTP, with `first` before the router.
pub(crate) fn front(port: u16, routes: RouteSpecifier, first: Option<HttpFilter>) -> Resource {
    let router = ConfigType::TypedConfig(pack_any(Router::default()));
    let manager = HttpConnectionManager {
        stat_prefix: "front".to_owned(),
        route_specifier: Some(routes),
        // Answered requests end at once, and their tests.
        delayed_close_timeout: Some(protobuf::Duration {
            seconds: 0,
            nanos: 1,
        }),
        http_filters: first
            .into_iter()
            .chain([filter("router", router)])
            .collect(),
        ..HttpConnectionManager::default()
    };
    edited(&listener("front", port, ""), |listener: &mut Listener| {
        let network = &mut listener.filter_chains[0].filters[0];
        network.config_type = Some(filter::ConfigType::TypedConfig(pack_any(manager)));
    })
}

pub(crate) fn by_scope() -> RouteSpecifier {
    let extractor = HeaderValueExtractor {
        name: "x-scope".to_owned(),
        extract_type: Some(ExtractType::Index(0)),
        ..HeaderValueExtractor::default()
    };
    let scopes = ScopedRds {
        scoped_rds_config_source: Some(over_ads()),
        ..ScopedRds::default()
    };
    RouteSpecifier::ScopedRoutes(ScopedRoutes {
        name: "scopes".to_owned(),
        scope_key_builder: Some(ScopeKeyBuilder {
            fragments: vec![FragmentBuilder {
                r#type: Some(Type::HeaderValueExtractor(extractor)),
            }],
        }),
        rds_config_source: Some(over_ads()),
        config_specifier: Some(ConfigSpecifier::ScopedRds(scopes)),
    })
}

/// The requests of `value` take their routes from `route`.
pub(crate) fn scope(value: &str, route: &str) -> Resource {
    let fragment = fragment::Type::StringKey(value.to_owned());
    let scope = ScopedRouteConfiguration {
        name: value.to_owned(),
        route_configuration_name: route.to_owned(),
        key: Some(Key {
            fragments: vec![Fragment {
                r#type: Some(fragment),
            }],
        }),
        ..ScopedRouteConfiguration::default()
    };
    resource(ResourceType::ScopedRoute, value, &scope)
}

/// A listener that asks for hosts on its own. It begins with all there are, and fetches what is
/// missing when the first request is for it. Only delta has that.
pub(crate) fn on_demand(port: u16) -> Vec<Resource> {
    let route = RouteConfiguration {
        name: "shop".to_owned(),
        vhds: Some(Vhds {
            config_source: Some(over_ads()),
        }),
        ..RouteConfiguration::default()
    };
    let fetching = ConfigType::TypedConfig(pack_any(OnDemand::default()));
    vec![
        front(port, by_route("shop"), Some(filter("on_demand", fetching))),
        resource(ResourceType::Route, "shop", &route),
    ]
}

pub(crate) fn virtual_host(domain: &str, word: &str) -> Resource {
    let name = format!("shop/{domain}");
    let host = host(&name, domain, word);
    resource(ResourceType::VirtualHost, &name, &host)
}

/// Answers with a header `x-word`.
pub(crate) fn extension(word: &str) -> Resource {
    let header = HeaderValueOption {
        header: Some(HeaderValue {
            key: "x-word".to_owned(),
            value: word.to_owned(),
            ..HeaderValue::default()
        }),
        ..HeaderValueOption::default()
    };
    let headers = HeaderFilter {
        mutations: Some(Mutations {
            response_mutations: vec![HeaderMutation {
                action: Some(header_mutation::Action::Append(header)),
            }],
            ..Mutations::default()
        }),
        ..HeaderFilter::default()
    };
    let extension = TypedExtensionConfig {
        name: "word".to_owned(),
        typed_config: Some(pack_any(headers)),
    };
    resource(ResourceType::Extension, "word", &extension)
}

/// The filter whose configuration is [`extension`].
pub(crate) fn fetched_filter() -> HttpFilter {
    let source = ExtensionConfigSource {
        config_source: Some(over_ads()),
        type_urls: vec![HeaderFilter::type_url()],
        ..ExtensionConfigSource::default()
    };
    filter("word", ConfigType::ConfigDiscovery(source))
}

/// The bootstrap's layer, with one setting.
pub(crate) fn layer(word: &str) -> Resource {
    edited(&runtime("layer"), |runtime: &mut Runtime| {
        let value = protobuf::Value {
            kind: Some(protobuf::value::Kind::StringValue(word.to_owned())),
        };
        let fields = [("shop.word".to_owned(), value)].into();
        runtime.layer = Some(protobuf::Struct { fields });
    })
}
