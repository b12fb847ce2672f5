use envoy_types::pb::{
    envoy::{
        config::{
            cluster::v3::{
                Cluster,
                cluster::{ClusterDiscoveryType, EdsClusterConfig},
            },
            core::v3::{
                AggregatedConfigSource, ApiConfigSource, ConfigSource, PathConfigSource,
                SelfConfigSource, TransportSocket,
                config_source::ConfigSourceSpecifier as Specifier, transport_socket,
            },
            listener::v3::{ApiListener, Filter, FilterChain, Listener, filter},
        },
        extensions::{
            filters::network::http_connection_manager::v3::{
                HttpConnectionManager, Rds, http_connection_manager::RouteSpecifier,
            },
            transport_sockets::tls::v3::{
                CommonTlsContext, DownstreamTlsContext, SdsSecretConfig, UpstreamTlsContext,
                common_tls_context::{CombinedCertificateValidationContext, ValidationContextType},
            },
        },
    },
    google::protobuf::Any,
};
use prost::Name as _;

use super::*;
use crate::fixture::{eds_cluster, eds_cluster_of_service};

fn any(type_url: &str, value: Vec<u8>) -> Any {
    Any {
        type_url: format!("type.googleapis.com/{type_url}"),
        value,
    }
}

fn secret(name: &str) -> SdsSecretConfig {
    SdsSecretConfig {
        name: name.to_owned(),
        sds_config: Some(ConfigSource::default()),
    }
}

fn common() -> CommonTlsContext {
    let own = SdsSecretConfig {
        sds_config: None,
        ..secret("own")
    };
    CommonTlsContext {
        tls_certificate_sds_secret_configs: vec![secret("certificate"), own],
        validation_context_type: Some(ValidationContextType::CombinedValidationContext(
            CombinedCertificateValidationContext {
                validation_context_sds_secret_config: Some(secret("roots")),
                ..Default::default()
            },
        )),
        ..Default::default()
    }
}

fn manager(route: &str) -> Any {
    let manager = HttpConnectionManager {
        route_specifier: Some(RouteSpecifier::Rds(Rds {
            route_config_name: route.to_owned(),
            ..Default::default()
        })),
        ..Default::default()
    };
    any(&HttpConnectionManager::full_name(), manager.encode_to_vec())
}

fn tls(context: &DownstreamTlsContext) -> TransportSocket {
    let context = any(&DownstreamTlsContext::full_name(), context.encode_to_vec());
    TransportSocket {
        config_type: Some(transport_socket::ConfigType::TypedConfig(context)),
        ..Default::default()
    }
}

fn chain(route: &str) -> FilterChain {
    let context = DownstreamTlsContext {
        common_tls_context: Some(common()),
        ..Default::default()
    };
    FilterChain {
        filters: vec![Filter {
            config_type: Some(filter::ConfigType::TypedConfig(manager(route))),
            ..Default::default()
        }],
        transport_socket: Some(tls(&context)),
        ..Default::default()
    }
}

fn names(kind: ResourceType, body: &[u8]) -> Vec<String> {
    of(kind, &"name".into(), body)
        .iter()
        .map(|(kind, name)| format!("{kind:?} {name}"))
        .collect()
}

#[test]
fn a_cluster_refers_to_its_endpoints_by_its_own_name_or_its_services() {
    let own = eds_cluster("name", 1);
    assert_eq!(names(ResourceType::Cluster, own.body()), ["Endpoints name"]);
    let other = eds_cluster_of_service("name", "service");
    assert_eq!(
        names(ResourceType::Cluster, other.body()),
        ["Endpoints service"]
    );
}

fn source(specifier: Specifier) -> ConfigSource {
    ConfigSource {
        config_source_specifier: Some(specifier),
        ..Default::default()
    }
}

#[expect(deprecated, reason = "clients still take the old form of a path")]
fn elsewhere() -> [ConfigSource; 3] {
    [
        Specifier::Path("/etc/here".to_owned()),
        Specifier::PathConfigSource(PathConfigSource::default()),
        Specifier::ApiConfigSource(ApiConfigSource::default()),
    ]
    .map(source)
}

fn endpoints_from(source: ConfigSource) -> Vec<String> {
    let cluster = Cluster {
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds as i32)),
        eds_cluster_config: Some(EdsClusterConfig {
            eds_config: Some(source),
            ..Default::default()
        }),
        ..Default::default()
    };
    names(ResourceType::Cluster, &cluster.encode_to_vec())
}

#[test]
fn a_cluster_that_takes_its_endpoints_from_elsewhere_refers_to_none() {
    for elsewhere in elsewhere() {
        assert!(
            endpoints_from(elsewhere.clone()).is_empty(),
            "{elsewhere:?}"
        );
    }
    for here in [
        source(Specifier::Ads(AggregatedConfigSource::default())),
        source(Specifier::Self_(SelfConfigSource::default())),
        ConfigSource::default(),
    ] {
        assert_eq!(endpoints_from(here), ["Endpoints name"]);
    }
}

#[test]
fn a_secret_from_elsewhere_is_no_reference() {
    for elsewhere in elsewhere() {
        let config = SdsSecretConfig {
            sds_config: Some(elsewhere),
            ..secret("certificate")
        };
        let context = DownstreamTlsContext {
            common_tls_context: Some(CommonTlsContext {
                tls_certificate_sds_secret_configs: vec![config],
                ..Default::default()
            }),
            ..Default::default()
        };
        let chain = FilterChain {
            transport_socket: Some(tls(&context)),
            ..Default::default()
        };
        let listener = Listener {
            filter_chains: vec![chain],
            ..Default::default()
        };
        assert!(names(ResourceType::Listener, &listener.encode_to_vec()).is_empty());
    }
}

#[test]
fn a_listener_refers_to_the_routes_and_secrets_of_all_its_chains() {
    let listener = Listener {
        filter_chains: vec![chain("one"), chain("one")],
        default_filter_chain: Some(chain("default")),
        api_listener: Some(ApiListener {
            api_listener: Some(manager("api")),
        }),
        ..Default::default()
    };
    assert_eq!(
        names(ResourceType::Listener, &listener.encode_to_vec()),
        [
            "Route api",
            "Route default",
            "Route one",
            "Secret certificate",
            "Secret roots"
        ]
    );
}

#[test]
fn every_kind_of_tls_socket_is_looked_into() {
    let context = UpstreamTlsContext {
        common_tls_context: Some(common()),
        ..Default::default()
    };
    let context = context.encode_to_vec();
    let inside = |tag: u8| {
        let length = u8::try_from(context.len()).unwrap();
        [&[tag << 3 | 2, length], &context[..]].concat()
    };
    for (socket, value) in [
        ("tls.v3.UpstreamTlsContext", context.clone()),
        ("quic.v3.QuicUpstreamTransport", inside(1)),
        ("starttls.v3.UpstreamStartTlsConfig", inside(2)),
    ] {
        let socket = TransportSocketHead {
            typed_config: Some(AnyHead {
                type_url: format!(
                    "type.googleapis.com/envoy.extensions.transport_sockets.{socket}"
                ),
                value,
            }),
        };
        assert_eq!(secrets(socket).len(), 2);
    }
}

#[test]
fn bytes_that_are_no_message_refer_to_nothing() {
    assert!(names(ResourceType::Listener, b"\xff\xff").is_empty());
    assert!(names(ResourceType::Cluster, b"\xff\xff").is_empty());
}
