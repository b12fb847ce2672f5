//! The least that makes Envoy forward TCP.

use std::{net::Ipv4Addr, time::Duration};

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
                listener::v3::{Filter, FilterChain, Listener, filter::ConfigType},
            },
            extensions::filters::network::tcp_proxy::v3::{TcpProxy, tcp_proxy::ClusterSpecifier},
            service::runtime::v3::Runtime,
        },
        google::protobuf,
    },
    util::pack_any,
};
use pointsman_xds::{Resource, ResourceType};

/// A cluster that takes its endpoints from EDS.
pub(crate) fn cluster(name: &str, connect_timeout: Duration) -> Resource {
    let cluster = Cluster {
        name: name.to_owned(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds as i32)),
        eds_cluster_config: Some(EdsClusterConfig {
            eds_config: Some(over_ads()),
            ..Default::default()
        }),
        connect_timeout: Some(protobuf::Duration {
            seconds: i64::try_from(connect_timeout.as_secs()).unwrap_or(i64::MAX),
            nanos: 0,
        }),
        ..Default::default()
    };
    resource(ResourceType::Cluster, name, &cluster)
}

/// The endpoint of a cluster, on loopback. Envoy refuses ports above 65535.
pub(crate) fn endpoints(cluster: &str, port: u32) -> Resource {
    let endpoint = LbEndpoint {
        host_identifier: Some(HostIdentifier::Endpoint(Endpoint {
            address: Some(loopback(port)),
            ..Default::default()
        })),
        ..Default::default()
    };
    let assignment = ClusterLoadAssignment {
        cluster_name: cluster.to_owned(),
        endpoints: vec![LocalityLbEndpoints {
            lb_endpoints: vec![endpoint],
            // Envoy needs neither; gRPC skips a locality without a name and a weight.
            locality: Some(Locality {
                region: "here".to_owned(),
                ..Default::default()
            }),
            load_balancing_weight: Some(protobuf::UInt32Value { value: 1 }),
            ..Default::default()
        }],
        ..Default::default()
    };
    resource(ResourceType::Endpoints, cluster, &assignment)
}

/// Forwards a port on loopback to a cluster.
pub(crate) fn listener(name: &str, port: u16, cluster: &str) -> Resource {
    let proxy = TcpProxy {
        stat_prefix: name.to_owned(),
        cluster_specifier: Some(ClusterSpecifier::Cluster(cluster.to_owned())),
        ..Default::default()
    };
    let listener = Listener {
        name: name.to_owned(),
        address: Some(loopback(port.into())),
        // Or two Envoys could share the port without either being told.
        enable_reuse_port: Some(protobuf::BoolValue { value: false }),
        filter_chains: vec![FilterChain {
            filters: vec![Filter {
                name: "envoy.filters.network.tcp_proxy".to_owned(),
                config_type: Some(ConfigType::TypedConfig(pack_any(proxy))),
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    resource(ResourceType::Listener, name, &listener)
}

/// An empty runtime layer.
pub(crate) fn runtime(name: &str) -> Resource {
    let runtime = Runtime {
        name: name.to_owned(),
        layer: Some(protobuf::Struct::default()),
    };
    resource(ResourceType::Runtime, name, &runtime)
}

/// A config source: the ADS stream.
pub(crate) fn over_ads() -> ConfigSource {
    ConfigSource {
        resource_api_version: ApiVersion::V3 as i32,
        config_source_specifier: Some(ConfigSourceSpecifier::Ads(AggregatedConfigSource {})),
        ..Default::default()
    }
}

fn loopback(port: u32) -> Address {
    Address {
        address: Some(address::Address::SocketAddress(SocketAddress {
            address: Ipv4Addr::LOCALHOST.to_string(),
            port_specifier: Some(PortSpecifier::PortValue(port)),
            ..Default::default()
        })),
    }
}

pub(crate) fn resource(kind: ResourceType, name: &str, message: &impl prost::Message) -> Resource {
    Resource::new(kind, name, Bytes::from(message.encode_to_vec()))
}
