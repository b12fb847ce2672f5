//! Which resource another one needs. Only the fields that say so are decoded.

use std::sync::Arc;

use envoy_types::pb::envoy::config::cluster::v3::cluster::DiscoveryType;
use prost::Message as _;

/// The name under which a cluster of type EDS asks for its endpoints; `None` for any other
/// cluster, and for a body that does not decode, which the client will refuse by itself.
pub(super) fn endpoints_of_cluster(body: &[u8], name: &Arc<str>) -> Option<Arc<str>> {
    let cluster = ClusterHead::decode(body).ok()?;
    if cluster.discovery_type != Some(DiscoveryType::Eds as i32) {
        return None;
    }
    let service = cluster
        .eds_cluster_config
        .map(|config| config.service_name)
        .unwrap_or_default();
    Some(if service.is_empty() {
        Arc::clone(name)
    } else {
        service.into()
    })
}

/// `envoy.config.cluster.v3.Cluster`, as far as it is read here.
#[derive(Clone, PartialEq, prost::Message)]
struct ClusterHead {
    #[prost(int32, optional, tag = "2")]
    discovery_type: Option<i32>,
    #[prost(message, optional, tag = "3")]
    eds_cluster_config: Option<EdsClusterConfigHead>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct EdsClusterConfigHead {
    #[prost(string, tag = "2")]
    service_name: String,
}
