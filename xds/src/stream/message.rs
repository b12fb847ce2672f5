//! What goes in and out, in the machine's words.

use std::{collections::HashMap, sync::Arc};

use crate::resource::{Resource, ResourceType, Version};

/// The two forms of the protocol.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Transport {
    Delta,
    StateOfTheWorld,
}

impl Transport {
    /// Whether responses hold everything that is subscribed, so that absence deletes: clusters and
    /// listeners by the protocol, scopes because Envoy takes them so.
    /// <https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#deleting-resources>
    pub(super) fn sends_full_state(self, kind: ResourceType) -> bool {
        use ResourceType::{Cluster, Listener, ScopedRoute};
        self == Self::StateOfTheWorld && matches!(kind, Cluster | Listener | ScopedRoute)
    }
}

/// The answer to a response that a request carries.
#[derive(Debug, Default)]
pub(crate) struct Reply {
    /// Empty if the request answers nothing.
    pub(crate) nonce: String,
    /// Present if and only if the client refused the response.
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

/// A state-of-the-world request, for one type. An answer is known by its nonce, and a refusal
/// by its error, never by the version.
#[derive(Debug, Default)]
pub(crate) struct SotwRequest {
    pub(crate) names: Vec<String>,
    /// Counts in the first request: what the client kept from an earlier stream.
    pub(crate) version: String,
    pub(crate) reply: Reply,
}

/// A response for one type, cut from one snapshot.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) kind: ResourceType,
    pub(crate) nonce: Arc<str>,
    pub(crate) version: Version,
    /// By name, ascending.
    pub(crate) resources: Arc<[Resource]>,
    /// Delta only.
    pub(crate) removed: Vec<Arc<str>>,
    /// Names that the client waits for, has nothing under, and that do not exist. Delta only.
    pub(crate) absent: Vec<Arc<str>>,
    /// A sign of life: each resource goes as its name, version and TTL, without its body.
    pub(crate) heartbeat: bool,
    /// The client minds TTLs, and one of the resources has one: they are sent with it. In state
    /// of the world each resource is wrapped in a discovery `Resource` for that.
    pub(crate) ttl: bool,
}
