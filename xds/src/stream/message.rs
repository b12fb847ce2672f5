//! The input and output of the stream machine.

use std::{collections::HashMap, sync::Arc};

use crate::resource::{Resource, ResourceType, Version};

/// The two forms of the protocol.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Transport {
    Delta,
    StateOfTheWorld,
}

impl Transport {
    /// Whether responses carry the full state, so that absence deletes. That holds for clusters and
    /// listeners by the protocol, and for scoped routes because Envoy treats them so.
    /// <https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#deleting-resources>
    pub(super) fn sends_full_state(self, kind: ResourceType) -> bool {
        use ResourceType::{Cluster, Listener, ScopedRoute};
        self == Self::StateOfTheWorld && matches!(kind, Cluster | Listener | ScopedRoute)
    }
}

/// The answer to a response that a request carries.
#[derive(Debug, Default)]
pub(crate) struct Reply {
    /// Empty if the request is not an answer.
    pub(crate) nonce: String,
    /// Present if and only if the request is a NACK.
    pub(crate) error: Option<Arc<str>>,
}

/// A delta request, for one type.
#[derive(Debug, Default)]
pub(crate) struct DeltaRequest {
    pub(crate) subscribe: Vec<String>,
    pub(crate) unsubscribe: Vec<String>,
    pub(crate) initial_versions: HashMap<String, String>,
    pub(crate) reply: Reply,
}

/// A state-of-the-world request, for one type. The nonce makes it an answer, and the error makes it a
/// NACK; the version says neither.
#[derive(Debug, Default)]
pub(crate) struct SotwRequest {
    pub(crate) names: Vec<String>,
    /// In the first request, the version that the client kept from an earlier stream. Ignored in
    /// others.
    pub(crate) version: String,
    pub(crate) reply: Reply,
}

/// A response for one type, made from one snapshot.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) kind: ResourceType,
    pub(crate) nonce: Arc<str>,
    pub(crate) version: Version,
    /// By name, ascending.
    pub(crate) resources: Arc<[Resource]>,
    /// Delta only.
    pub(crate) removed: Vec<Arc<str>>,
    /// Names that do not exist and of which the client must be told although it has nothing. Delta
    /// only.
    pub(crate) absent: Vec<Arc<str>>,
    /// Whether it renews TTLs: resources are sent without bodies.
    pub(crate) heartbeat: bool,
    /// Whether the resources are sent with TTLs: the client supports them, and a resource has one. In
    /// state of the world each resource is then wrapped in a discovery `Resource`.
    pub(crate) ttl: bool,
}
