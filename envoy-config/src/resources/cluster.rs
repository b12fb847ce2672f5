use std::time::Duration;

use envoy_types::pb::envoy::{
    config::{
        cluster::v3::{
            CircuitBreakers, Cluster, TrackClusterStats, UpstreamConnectionOptions,
            circuit_breakers::Thresholds,
            cluster::{ClusterDiscoveryType, CommonLbConfig, DiscoveryType, EdsClusterConfig},
        },
        core::v3::{
            HealthCheck,
            health_check::{HealthChecker, TcpHealthCheck},
        },
    },
    r#type::v3::Percent,
};
use pointsman_xds::ResourceType;
use prost::Message as _;

use super::{
    Rendered,
    message::{duration, keepalive, over_ads, uint32},
};
use crate::names::stat_name;

/// The cluster `name`; its endpoints come by EDS, and nothing else of it ever changes.
pub(super) fn eds(name: &str) -> Rendered {
    rendered(cluster(name))
}

/// A cluster that carries no traffic and tries each of its endpoints by connecting to it.
/// A probe cluster without endpoints tries nothing.
pub(super) fn probe(name: &str) -> Rendered {
    rendered(Cluster {
        health_checks: vec![connect_check()],
        ..cluster(name)
    })
}

fn rendered(cluster: Cluster) -> Rendered {
    let body = cluster.encode_to_vec();
    Rendered::new(ResourceType::Cluster, &cluster.name, body)
}

/// A TCP connection that is closed as soon as it stands: PostgreSQL starts a backend for it,
/// and says nothing in its log.
fn connect_check() -> HealthCheck {
    HealthCheck {
        timeout: duration(CONNECT_TIMEOUT),
        interval: duration(PROBE_INTERVAL),
        // By default a cluster without traffic is tried once a minute.
        no_traffic_interval: duration(PROBE_INTERVAL),
        unhealthy_interval: duration(PROBE_RETRY),
        interval_jitter: duration(PROBE_JITTER),
        unhealthy_threshold: uint32(1),
        healthy_threshold: uint32(1),
        health_checker: Some(HealthChecker::TcpHealthCheck(TcpHealthCheck::default())),
        ..HealthCheck::default()
    }
}

fn cluster(name: &str) -> Cluster {
    Cluster {
        name: name.to_owned(),
        alt_stat_name: stat_name(name),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into())),
        eds_cluster_config: Some(EdsClusterConfig {
            eds_config: Some(over_ads()),
            ..EdsClusterConfig::default()
        }),
        connect_timeout: duration(CONNECT_TIMEOUT),
        common_lb_config: Some(CommonLbConfig {
            // By default further changes within a second of the first wait for its end.
            update_merge_window: duration(Duration::ZERO),
            // By default a cluster without a healthy endpoint uses the others: on a hold
            // it would send new connections to the draining server.
            healthy_panic_threshold: Some(Percent { value: 0.0 }),
            ..CommonLbConfig::default()
        }),
        circuit_breakers: Some(CircuitBreakers {
            thresholds: vec![Thresholds {
                max_connections: uint32(MAX_CONNECTIONS),
                max_pending_requests: uint32(MAX_CONNECTIONS),
                ..Thresholds::default()
            }],
            ..CircuitBreakers::default()
        }),
        // A server that left the assignment shall leave the cluster, healthy or not.
        ignore_health_on_host_removal: true,
        track_cluster_stats: Some(TrackClusterStats {
            per_endpoint_stats: true,
            ..TrackClusterStats::default()
        }),
        upstream_connection_options: Some(UpstreamConnectionOptions {
            tcp_keepalive: Some(keepalive()),
            ..UpstreamConnectionOptions::default()
        }),
        ..Cluster::default()
    }
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Each try costs the server a process, and a fleet makes as many as it has sidecars.
const PROBE_INTERVAL: Duration = Duration::from_secs(5);

/// A whole fleet is told to try a server at one time. Without a random part in their pauses its sidecars
/// would overflow the listen queue of the server together, again and again. The first try has none: a
/// sidecar that starts waits for it before it listens.
const PROBE_JITTER: Duration = Duration::from_millis(500);

/// The pause between tries of an endpoint that was not reached.
const PROBE_RETRY: Duration = Duration::from_secs(1);

/// Out of the way: the sidecar's overload manager limits connections where they arrive,
/// and the default of 1024 would refuse connections that are merely parked.
const MAX_CONNECTIONS: u32 = 100_000;
