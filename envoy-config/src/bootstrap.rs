mod cache;
mod http2;
mod tls;

use std::net::{IpAddr, SocketAddr};

use pointsman_catalog::Endpoint;
use serde_json::{Value, json};

pub use self::cache::{CacheSocket, CacheSocketError};
use self::http2::http2;
pub use self::tls::{Secrets, TlsToControlPlane};
use crate::names::{CACHE_CLUSTER, CONTROL_PLANE_CLUSTER, NODE_CLUSTER, RUNTIME_LAYER};

/// How a sidecar is started, besides `-c <bootstrap>`. Without drain time a listener that
/// changes closes its connections at once, which is the last resort against a server that
/// cannot close them itself; a dynamic base id lets several sidecars share a host.
pub const ARGUMENTS: &[&str] = &[
    "--concurrency",
    "1",
    "--drain-time-s",
    "0",
    "--drain-strategy",
    "immediate",
    "--use-dynamic-base-id",
];

/// The key of node metadata under which a sidecar says on which IP address it listens, so
/// that one which nobody has registered can be served, too.
pub const LISTEN_METADATA: &str = "listen";

/// What a sidecar's own configuration file says; all else comes from the control plane.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Bootstrap {
    /// `node.id`: the name of a registered sidecar, or that of a sidecar group. Envoy's option
    /// `--service-node` tells the members of a group apart.
    pub node: String,
    /// The address on which its listeners listen.
    pub listen: IpAddr,
    /// Where it reaches the control plane; a name is resolved by the sidecar.
    pub xds: Endpoint,
    /// Envoy's own admin interface, which has no authentication.
    pub admin: Option<SocketAddr>,
    pub transport: Transport,
    /// Plain text when absent.
    pub tls: Option<TlsToControlPlane>,
    /// Connections from applications, parked ones included, above which it refuses.
    pub max_downstream_connections: u32,
    /// Where it asks when it starts and the control plane does not answer.
    pub cache: Option<CacheSocket>,
}

/// The variant of the xDS protocol.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Transport {
    #[default]
    Delta,
    StateOfTheWorld,
}

impl Bootstrap {
    /// The file's text, JSON.
    pub fn render(&self) -> String {
        let mut file = json!({
            "node": {
                "id": self.node,
                "cluster": NODE_CLUSTER,
                "metadata": { LISTEN_METADATA: self.listen.to_string() },
            },
            "dynamic_resources": {
                "ads_config": self.ads(),
                "cds_config": over_ads(),
                "lds_config": over_ads(),
            },
            "static_resources": { "clusters": self.clusters() },
            "layered_runtime": { "layers": [
                { "name": "static", "static_layer": self.static_layer() },
                { "name": "rtds", "rtds_layer": {
                    "name": RUNTIME_LAYER,
                    "rtds_config": over_ads(),
                } },
            ] },
            "stats_flush_interval": FLUSH_INTERVAL,
            "stats_sinks": [metrics()],
            "stats_config": { "stats_matcher": { "inclusion_list": {
                "patterns": STATISTICS.map(|regex| json!({ "safe_regex": { "regex": regex } })),
            } } },
            "overload_manager": { "resource_monitors": [{
                "name": "envoy.resource_monitors.global_downstream_max_connections",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
                    "max_active_downstream_connections": self.max_downstream_connections,
                },
            }] },
        });
        if let Some(admin) = self.admin {
            file["admin"] =
                json!({ "address": socket_address(&admin.ip().to_string(), admin.port()) });
        }
        format!("{file:#}\n")
    }

    /// The cluster of each server that configuration may come from, in the order in which they are asked.
    fn clusters(&self) -> Vec<Value> {
        let cache = self.cache.as_ref().map(CacheSocket::cluster);
        [self.control_plane()].into_iter().chain(cache).collect()
    }

    fn static_layer(&self) -> Value {
        match &self.cache {
            Some(_) => cache::static_layer(),
            None => json!({}),
        }
    }

    fn ads(&self) -> Value {
        let cache = self.cache.as_ref().map(|_| CACHE_CLUSTER);
        let services = [CONTROL_PLANE_CLUSTER].into_iter().chain(cache);
        let services: Vec<_> = services.map(grpc_service).collect();
        json!({
            "api_type": match self.transport {
                Transport::Delta => "DELTA_GRPC",
                Transport::StateOfTheWorld => "GRPC",
            },
            "transport_api_version": "V3",
            // The node is 61 KB; sent with every message it triples the time of an ACK.
            "set_node_on_first_message_only": true,
            "grpc_services": services,
        })
    }

    fn control_plane(&self) -> Value {
        let host = self.xds.host();
        let mut cluster = json!({
            "name": CONTROL_PLANE_CLUSTER,
            "type": "STATIC",
            "connect_timeout": "1s",
            "typed_extension_protocol_options": http2(),
            "load_assignment": {
                "cluster_name": CONTROL_PLANE_CLUSTER,
                "endpoints": [{ "lb_endpoints": [{ "endpoint": {
                    "address": socket_address(host, self.xds.port()),
                } }] }],
            },
        });
        if let Some(tls) = &self.tls {
            cluster["transport_socket"] = tls.transport_socket();
        }
        if host.parse::<IpAddr>().is_err() {
            cluster["type"] = json!("STRICT_DNS");
            // The default tries IPv6 first and nothing else when there is any answer.
            cluster["dns_lookup_family"] = json!("V4_PREFERRED");
        }
        cluster
    }
}

/// What is kept, and streamed back at each flush: without a choice that is several times as
/// much, and it grows with the number of databases.
const STATISTICS: [&str; 6] = [
    r"cluster\.(writer|reader|probe)/[^.]+\.(upstream_(cx|rq)_.*|health_check\..*|update_.*|membership_(total|healthy)|warming_state)",
    r"cluster\.(xds|cache)\..*",
    r"tcp\..*",
    r"listener\.[^.]+\.downstream_.*",
    r"(listener_manager|cluster_manager)\..*",
    r"(control_plane|server)\..*",
];

/// Parked clients are known from statistics alone; an operator in a hold wants them fresh to a
/// second.
const FLUSH_INTERVAL: &str = "0.5s";

fn metrics() -> Value {
    json!({
        "name": "envoy.stat_sinks.metrics_service",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.config.metrics.v3.MetricsServiceConfig",
            "grpc_service": { "envoy_grpc": { "cluster_name": CONTROL_PLANE_CLUSTER } },
            "transport_api_version": "V3",
            "report_counters_as_deltas": true,
            "emit_tags_as_labels": true,
            // By default each histogram is sent a second time, with all its buckets.
            "histogram_emit_mode": "SUMMARY",
        },
    })
}

fn grpc_service(cluster: &str) -> Value {
    json!({ "envoy_grpc": {
        "cluster_name": cluster,
        // By default a sidecar may take 20 s to come back to its control plane.
        "retry_policy": { "retry_back_off": {
            "base_interval": "0.05s",
            "max_interval": "0.5s",
        } },
    } })
}

fn over_ads() -> Value {
    json!({ "ads": {}, "resource_api_version": "V3" })
}

fn socket_address(host: &str, port: u16) -> Value {
    json!({ "socket_address": { "address": host, "port_value": port } })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bootstrap(xds: &str) -> Bootstrap {
        Bootstrap {
            node: "app-1".to_owned(),
            listen: IpAddr::from([127, 0, 0, 11]),
            xds: xds.parse().unwrap(),
            admin: Some("127.0.0.1:9901".parse().unwrap()),
            transport: Transport::Delta,
            tls: None,
            max_downstream_connections: 10_000,
            cache: None,
        }
    }

    #[test]
    fn the_bootstrap_says_where_the_control_plane_is_and_little_else() {
        insta::assert_snapshot!(bootstrap("127.0.0.1:18000").render());
    }

    #[test]
    fn a_control_plane_with_a_name_is_resolved_by_the_sidecar() {
        let file = bootstrap("pointsman.internal:18000").render();
        let file: Value = serde_json::from_str(&file).unwrap();
        let cluster = &file["static_resources"]["clusters"][0];
        assert_eq!(cluster["type"], "STRICT_DNS");
    }

    #[test]
    fn without_an_address_there_is_no_admin_interface() {
        let closed = Bootstrap {
            admin: None,
            ..bootstrap("127.0.0.1:18000")
        };
        let file: Value = serde_json::from_str(&closed.render()).unwrap();
        assert!(file.get("admin").is_none());
    }

    #[test]
    fn a_sidecar_with_a_certificate_speaks_tls_1_3_to_the_control_plane_alone() {
        let plain: Value = serde_json::from_str(&bootstrap("127.0.0.1:18000").render()).unwrap();
        let proven = Bootstrap {
            tls: Some(TlsToControlPlane {
                certificate: "/run/sds/certificate.json".into(),
                authorities: "/run/sds/authorities.json".into(),
                server: "spiffe://example.org/pointsman/control-plane".to_owned(),
            }),
            ..bootstrap("127.0.0.1:18000")
        };
        let mut proven: Value = serde_json::from_str(&proven.render()).unwrap();
        let cluster = proven["static_resources"]["clusters"][0]
            .as_object_mut()
            .unwrap();
        let socket = cluster.remove("transport_socket").unwrap();
        insta::assert_snapshot!(format!("{socket:#}"));
        assert_eq!(proven, plain);
    }

    #[test]
    fn with_a_cache_there_is_a_second_server_to_ask_and_nothing_else_changes() {
        let plain = bootstrap("127.0.0.1:18000");
        let cached = Bootstrap {
            cache: Some("unix:/run/pointsman/app-1.sock".parse().unwrap()),
            ..plain.clone()
        };
        let [mut cached, plain] = [cached, plain].map(|bootstrap| {
            let file: Value = serde_json::from_str(&bootstrap.render()).unwrap();
            file
        });
        let clusters = cached["static_resources"]["clusters"].as_array_mut();
        let cluster = clusters.unwrap().pop().unwrap();
        let services = cached["dynamic_resources"]["ads_config"]["grpc_services"].as_array_mut();
        let service = services.unwrap().pop().unwrap();
        let layer = cached["layered_runtime"]["layers"][0]["static_layer"].take();
        insta::assert_snapshot!(format!("{cluster:#}\n{service:#}\n{layer:#}"));
        cached["layered_runtime"]["layers"][0]["static_layer"] = json!({});
        assert_eq!(cached, plain);
    }

    #[test]
    fn state_of_the_world_is_another_api_type_on_the_same_stream() {
        let sotw = Bootstrap {
            transport: Transport::StateOfTheWorld,
            ..bootstrap("127.0.0.1:18000")
        };
        let sotw = sotw.render().replace("\"GRPC\"", "\"DELTA_GRPC\"");
        assert_eq!(sotw, bootstrap("127.0.0.1:18000").render());
    }
}
