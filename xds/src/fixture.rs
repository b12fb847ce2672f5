//! Small resources for tests.

use std::time::Duration;

use bytes::Bytes;
use envoy_types::pb::envoy::config::{
    cluster::v3::{
        Cluster,
        cluster::{ClusterDiscoveryType, DiscoveryType, EdsClusterConfig},
    },
    core::v3::{Address, SocketAddress, address, socket_address::PortSpecifier},
    endpoint::v3::{
        ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints,
        lb_endpoint::HostIdentifier,
    },
};
use prost::Message as _;

use crate::{
    resource::{Resource, ResourceType},
    stream::{Bounds, Terms},
};

/// Envoy's terms, without TTLs.
pub(crate) const TERMS: Terms = Terms {
    bounds: Bounds {
        names: 100,
        name_bytes: 10_000,
        wide_requests: u32::MAX,
        answer: Duration::from_secs(20),
    },
    legacy_wildcard: true,
    ttl: false,
    alone: false,
};

/// An EDS cluster. A different `timeout_s` makes different content.
pub(crate) fn eds_cluster(name: &str, timeout_s: i64) -> Resource {
    cluster(name, "", timeout_s)
}

#[cfg(test)]
pub(crate) fn eds_cluster_of_service(name: &str, service: &str) -> Resource {
    cluster(name, service, 1)
}

pub(crate) fn assignment(name: &str, port: u32) -> Resource {
    let address = Address {
        address: Some(address::Address::SocketAddress(SocketAddress {
            address: "127.0.0.1".to_owned(),
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
    let assignment = ClusterLoadAssignment {
        cluster_name: name.to_owned(),
        endpoints: vec![LocalityLbEndpoints {
            lb_endpoints: vec![endpoint],
            ..Default::default()
        }],
        ..Default::default()
    };
    Resource::new(
        ResourceType::Endpoints,
        name,
        Bytes::from(assignment.encode_to_vec()),
    )
}

/// A resource of a type whose body the server never reads.
pub(crate) fn opaque(kind: ResourceType, name: &str, content: &str) -> Resource {
    Resource::new(kind, name, Bytes::copy_from_slice(content.as_bytes()))
}

fn cluster(name: &str, service: &str, timeout_s: i64) -> Resource {
    let cluster = Cluster {
        name: name.to_owned(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds as i32)),
        eds_cluster_config: Some(EdsClusterConfig {
            service_name: service.to_owned(),
            ..Default::default()
        }),
        connect_timeout: Some(envoy_types::pb::google::protobuf::Duration {
            seconds: timeout_s,
            nanos: 0,
        }),
        ..Default::default()
    };
    Resource::new(
        ResourceType::Cluster,
        name,
        Bytes::from(cluster.encode_to_vec()),
    )
}
