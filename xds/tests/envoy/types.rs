//! The types that a TCP proxy has no use for: routes, scopes, hosts on demand, filters, layers.

use std::net::Ipv4Addr;

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
        google::protobuf::{self, Any},
    },
    util::pack_any,
};
use pointsman_xds::{Resource, ResourceType};
use tokio::net::TcpStream;

use crate::{
    control_plane::ControlPlane,
    http::{self, Answer},
    patience::until,
    ports::free_port,
    process::{BOTH, Envoy, Transport},
    resources::{listener, over_ads, resource, runtime},
    world::edited,
};

const HOST: &str = "shop.test";

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

fn route(name: &str, word: &str) -> Resource {
    let route = RouteConfiguration {
        name: name.to_owned(),
        virtual_hosts: vec![host("all", "*", word)],
        ..RouteConfiguration::default()
    };
    resource(ResourceType::Route, name, &route)
}

fn by_route(name: &str) -> RouteSpecifier {
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
fn front(port: u16, routes: RouteSpecifier, first: Option<HttpFilter>) -> Resource {
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

async fn get(port: u16, headers: &[(&str, &str)]) -> Option<Answer> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.ok()?;
    http::get(stream, HOST, "/", headers).await.ok()
}

/// Waits for an answer with `word`.
async fn says(port: u16, headers: &[(&str, &str)], word: &str) {
    until(word, async || {
        let answer = get(port, headers).await?;
        (answer.body == word).then_some(())
    })
    .await;
}

/// Publishes the one, then the other, and looks each time whether `port` answers accordingly.
async fn follows(
    transport: Transport,
    port: u16,
    headers: &[(&str, &str)],
    world: impl Fn(&str) -> Vec<Resource>,
) {
    let server = ControlPlane::start().await;
    let all = |word| [world(word), vec![runtime("layer")]].concat();
    server.publish(all("first"));
    let envoy = Envoy::start(server.port, transport);
    says(port, headers, "first").await;
    server.flip(all("second")).await;
    says(port, headers, "second").await;
    assert_eq!(envoy.stats("update_rejected").await, 0);
    assert_eq!(envoy.stats("init_fetch_timeout").await, 0);
}

#[tokio::test]
async fn a_route_is_followed() {
    for transport in BOTH {
        let port = free_port();
        follows(transport, port, &[], |word| {
            vec![front(port, by_route("shop"), None), route("shop", word)]
        })
        .await;
    }
}

fn by_scope() -> RouteSpecifier {
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
fn scope(value: &str, route: &str) -> Resource {
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

#[tokio::test]
async fn a_scope_leads_to_another_route() {
    for transport in BOTH {
        let port = free_port();
        follows(transport, port, &[("x-scope", "gold")], |word| {
            vec![
                front(port, by_scope(), None),
                scope("gold", &format!("{word}-route")),
                scope("iron", "first-route"),
                route("first-route", "first"),
                route("second-route", "second"),
            ]
        })
        .await;
    }
}

/// A listener that asks for hosts on its own. It begins with all there are, and fetches what is
/// missing when the first request is for it. Only delta has that.
fn on_demand(port: u16) -> Vec<Resource> {
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

fn virtual_host(domain: &str, word: &str) -> Resource {
    let name = format!("shop/{domain}");
    let host = host(&name, domain, word);
    resource(ResourceType::VirtualHost, &name, &host)
}

#[tokio::test]
async fn a_host_is_followed() {
    let port = free_port();
    follows(Transport::Delta, port, &[], |word| {
        [on_demand(port), vec![virtual_host(HOST, word)]].concat()
    })
    .await;
}

#[tokio::test]
async fn a_host_that_does_not_exist_is_said_to_be_absent_and_told_when_it_comes() {
    let server = ControlPlane::start().await;
    let port = free_port();
    let other = virtual_host("other.test", "other");
    let before = [on_demand(port), vec![other, runtime("layer")]].concat();
    server.publish(before.clone());
    let envoy = Envoy::start(server.port, Transport::Delta);
    until("the refusal", async || {
        let answer = get(port, &[]).await?;
        answer.head.starts_with("HTTP/1.1 404").then_some(())
    })
    .await;
    let after = [before, vec![virtual_host(HOST, "at last")]].concat();
    server.flip(after).await;
    says(port, &[], "at last").await;
    assert_eq!(envoy.stats("update_rejected").await, 0);
}

/// Answers with a header `x-word`.
fn extension(word: &str) -> Resource {
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

#[tokio::test]
async fn a_filters_configuration_is_followed() {
    for transport in BOTH {
        let server = ControlPlane::start().await;
        let port = free_port();
        let source = ExtensionConfigSource {
            config_source: Some(over_ads()),
            type_urls: vec![type_url(&pack_any(HeaderFilter::default()))],
            ..ExtensionConfigSource::default()
        };
        let world = |word: &str| {
            let fetched = filter("word", ConfigType::ConfigDiscovery(source.clone()));
            vec![
                front(port, by_route("shop"), Some(fetched)),
                route("shop", "open"),
                extension(word),
                runtime("layer"),
            ]
        };
        let shows = async |word: &str| {
            until(word, async || {
                let answer = get(port, &[]).await?;
                let header = format!("x-word: {word}");
                (answer.body == "open" && answer.head.contains(&header)).then_some(())
            })
            .await;
        };
        server.publish(world("first"));
        let _envoy = Envoy::start(server.port, transport);
        shows("first").await;
        server.flip(world("second")).await;
        shows("second").await;
    }
}

fn type_url(packed: &Any) -> String {
    packed.type_url.clone()
}

/// The bootstrap's layer, with one setting.
fn layer(word: &str) -> Resource {
    edited(&runtime("layer"), |runtime: &mut Runtime| {
        let value = protobuf::Value {
            kind: Some(protobuf::value::Kind::StringValue(word.to_owned())),
        };
        let fields = [("shop.word".to_owned(), value)].into();
        runtime.layer = Some(protobuf::Struct { fields });
    })
}

#[tokio::test]
async fn a_runtime_layer_is_followed() {
    for transport in BOTH {
        let server = ControlPlane::start().await;
        server.publish(vec![layer("first")]);
        let envoy = Envoy::start(server.port, transport);
        let shows = async |word: &str| {
            until(word, async || {
                let runtime = envoy.admin("/runtime").await.ok()?;
                runtime.contains(word).then_some(())
            })
            .await;
        };
        shows("first").await;
        server.flip(vec![layer("second")]).await;
        shows("second").await;
    }
}
