use std::time::Duration;

use super::Transport;
use crate::node::NodeDescription;

/// The settings of one stream, from the server's limits and the client's features.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    pub(crate) bounds: Bounds,
    /// Whether a first request without names is a wildcard.
    pub(crate) legacy_wildcard: bool,
    /// Whether the client supports TTLs.
    pub(crate) ttl: bool,
    /// Whether the stream is of a service for one type. The client's other types are then on other
    /// streams.
    pub(crate) alone: bool,
}

/// The limits of one stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Subscribed names, over all types. Also the number of missing resources that the client may claim
    /// to have.
    pub(crate) names: usize,
    /// Size of the subscribed names, over all types, in bytes.
    pub(crate) name_bytes: usize,
    /// Requests that subscribe to or unsubscribe from all resources of a type, until the client answers
    /// a response.
    pub(crate) wide_requests: u32,
    /// How long a response may stay unanswered before the client is lagging.
    pub(crate) answer: Duration,
}

impl Terms {
    /// gRPC clients never mean the wildcard when they name nothing. All other clients do, as Envoy
    /// does.
    pub(crate) fn new(node: &NodeDescription, transport: Transport, bounds: Bounds) -> Self {
        let has = |feature: &str| node.client_features.iter().any(|has| has == feature);
        let ttl = match transport {
            Transport::Delta => has(TTL),
            Transport::StateOfTheWorld => has(TTL) && has(WRAPPED),
        };
        Self {
            bounds,
            legacy_wildcard: !node.user_agent.starts_with("gRPC"),
            ttl,
            alone: false,
        }
    }
}

/// <https://www.envoyproxy.io/docs/envoy/latest/api/client_features>
const TTL: &str = "xds.config.supports-resource-ttl";
const WRAPPED: &str = "xds.config.supports-resource-in-sotw";
