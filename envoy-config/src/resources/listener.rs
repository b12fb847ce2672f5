use std::{net::SocketAddr, time::Duration};

use envoy_types::{
    pb::{
        envoy::{
            config::{
                accesslog::v3::{AccessLog, access_log},
                core::v3::{
                    ApiVersion, BackoffStrategy, GrpcService,
                    grpc_service::{EnvoyGrpc, TargetSpecifier},
                },
                listener::v3::{Filter, FilterChain, Listener, filter},
            },
            extensions::{
                access_loggers::grpc::v3::{CommonGrpcAccessLogConfig, TcpGrpcAccessLogConfig},
                filters::network::tcp_proxy::v3::{
                    TcpProxy,
                    tcp_proxy::{ClusterSpecifier, TcpAccessLogOptions},
                },
            },
        },
        google::protobuf::BoolValue,
    },
    util::pack_any,
};
use pointsman_xds::ResourceType;
use prost::Message as _;

use super::{
    Rendered,
    message::{duration, keepalive, socket_address, uint32},
};
use crate::{
    hold::{BACKOFF_BASE, BACKOFF_MAX, MAX_CONNECT_ATTEMPTS},
    names::{ACCESS_LOG_NAME, CONTROL_PLANE_CLUSTER, stat_name},
};

/// The listener `name` at `at`, which forwards to the cluster of the same name.
pub(super) fn tcp(name: &str, at: SocketAddr) -> Rendered {
    let listener = Listener {
        name: name.to_owned(),
        // By default its statistics are called after its address.
        stat_prefix: stat_name(name),
        address: Some(socket_address(at)),
        filter_chains: vec![FilterChain {
            filters: vec![Filter {
                name: "envoy.filters.network.tcp_proxy".to_owned(),
                config_type: Some(filter::ConfigType::TypedConfig(pack_any(tcp_proxy(name)))),
            }],
            ..FilterChain::default()
        }],
        // With the default, true, two sidecars on one host share the address silently.
        enable_reuse_port: Some(BoolValue { value: false }),
        tcp_backlog_size: uint32(BACKLOG),
        tcp_keepalive: Some(keepalive()),
        ..Listener::default()
    };
    Rendered::new(ResourceType::Listener, name, listener.encode_to_vec())
}

fn tcp_proxy(cluster: &str) -> TcpProxy {
    TcpProxy {
        stat_prefix: stat_name(cluster),
        cluster_specifier: Some(ClusterSpecifier::Cluster(cluster.to_owned())),
        // The default of an hour ends idle sessions; and the timer runs while parked.
        idle_timeout: duration(Duration::ZERO),
        max_connect_attempts: uint32(MAX_CONNECT_ATTEMPTS),
        backoff_options: Some(BackoffStrategy {
            base_interval: duration(BACKOFF_BASE),
            max_interval: duration(BACKOFF_MAX),
        }),
        access_log: vec![AccessLog {
            name: "envoy.access_loggers.tcp_grpc".to_owned(),
            config_type: Some(access_log::ConfigType::TypedConfig(pack_any(access_log()))),
            ..AccessLog::default()
        }],
        access_log_options: Some(TcpAccessLogOptions {
            flush_access_log_on_connected: true,
            access_log_flush_interval: duration(ACCESS_LOG_PERIOD),
            ..TcpAccessLogOptions::default()
        }),
        ..TcpProxy::default()
    }
}

fn access_log() -> TcpGrpcAccessLogConfig {
    TcpGrpcAccessLogConfig {
        common_config: Some(CommonGrpcAccessLogConfig {
            log_name: ACCESS_LOG_NAME.to_owned(),
            transport_api_version: ApiVersion::V3.into(),
            grpc_service: Some(GrpcService {
                target_specifier: Some(TargetSpecifier::EnvoyGrpc(EnvoyGrpc {
                    cluster_name: CONTROL_PLANE_CLUSTER.to_owned(),
                    ..EnvoyGrpc::default()
                })),
                ..GrpcService::default()
            }),
            buffer_size_bytes: uint32(ACCESS_LOG_BUFFER_BYTES),
            buffer_flush_interval: duration(ACCESS_LOG_DELAY),
            ..CommonGrpcAccessLogConfig::default()
        }),
    }
}

/// A fleet's applications reconnect all at once after a switch.
const BACKLOG: u32 = 4096;

/// How often a connection that stays open is reported again.
const ACCESS_LOG_PERIOD: Duration = Duration::from_secs(5);

/// The longest time an entry waits in the sidecar.
pub const ACCESS_LOG_DELAY: Duration = Duration::from_millis(100);

const ACCESS_LOG_BUFFER_BYTES: u32 = 16 * 1024;
