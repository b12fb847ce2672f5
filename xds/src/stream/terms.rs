use std::time::Duration;

use super::Transport;
use crate::node::NodeDescription;

/// What holds for one client as long as its stream is open.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    pub(crate) bounds: Bounds,
    /// Whether a first request without names asks for everything.
    pub(crate) legacy_wildcard: bool,
    /// Whether it drops a resource when its time to live is over.
    pub(crate) ttl: bool,
    /// Whether its stream is for one type, so that what it asks for elsewhere is not seen here.
    pub(crate) alone: bool,
}

/// What one client may cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Names that it may subscribe to, over all types, and of which it may say that it has them
    /// though they do not exist.
    pub(crate) names: usize,
    /// Of the names that it subscribes to, over all types, in bytes.
    pub(crate) name_bytes: usize,
    /// Requests that ask for everything of a type, or for it no more, until it answers something.
    pub(crate) wide_requests: u32,
    /// How long a response may stay unanswered before the client lags.
    pub(crate) answer: Duration,
}

impl Terms {
    /// The clients of gRPC never mean everything when they name nothing, and could not say so
    /// otherwise; all others get the wildcard that Envoy asks for.
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
