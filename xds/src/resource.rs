use std::{collections::BTreeMap, fmt, sync::Arc};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

mod reference;

/// Every resource type that Envoy asks an aggregated discovery service for, roughly in the
/// order of the protocol's "make before break" rule.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum ResourceType {
    Cluster,
    Endpoints,
    /// The configuration of one filter (ECDS).
    Extension,
    Listener,
    /// Which route configuration a request takes (SRDS).
    ScopedRoute,
    Route,
    /// One host of a route configuration, on demand (VHDS).
    VirtualHost,
    Secret,
    Runtime,
}

impl ResourceType {
    pub const ALL: [Self; 9] = [
        Self::Cluster,
        Self::Endpoints,
        Self::Extension,
        Self::Listener,
        Self::ScopedRoute,
        Self::Route,
        Self::VirtualHost,
        Self::Secret,
        Self::Runtime,
    ];

    /// The `type_url` of requests and responses, and of each `Any` inside them.
    #[must_use]
    pub const fn type_url(self) -> &'static str {
        match self {
            Self::Cluster => "type.googleapis.com/envoy.config.cluster.v3.Cluster",
            Self::Endpoints => "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
            Self::Extension => "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
            Self::Listener => "type.googleapis.com/envoy.config.listener.v3.Listener",
            Self::ScopedRoute => {
                "type.googleapis.com/envoy.config.route.v3.ScopedRouteConfiguration"
            }
            Self::Route => "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
            Self::VirtualHost => "type.googleapis.com/envoy.config.route.v3.VirtualHost",
            Self::Secret => "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
            Self::Runtime => "type.googleapis.com/envoy.service.runtime.v3.Runtime",
        }
    }

    /// The type of a `type_url`, if the server knows it.
    #[must_use]
    pub fn from_type_url(type_url: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.type_url() == type_url)
    }

    pub(crate) const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for ResourceType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cluster => "Cluster",
            Self::Endpoints => "ClusterLoadAssignment",
            Self::Extension => "TypedExtensionConfig",
            Self::Listener => "Listener",
            Self::ScopedRoute => "ScopedRouteConfiguration",
            Self::Route => "RouteConfiguration",
            Self::VirtualHost => "VirtualHost",
            Self::Secret => "Secret",
            Self::Runtime => "Runtime",
        })
    }
}

/// A hash of content: 128 bits of SHA-256, on the wire 32 hexadecimal digits. A server that
/// restarts, or a second one, so gives the same content the same version.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Version(u128);

impl Version {
    fn of(content: &[u8]) -> Self {
        Self::finish(Sha256::new_with_prefix(content))
    }

    fn finish(hash: Sha256) -> Self {
        let mut prefix = [0; 16];
        prefix.copy_from_slice(&hash.finalize()[..16]);
        Self(u128::from_be_bytes(prefix))
    }

    /// Reads what [`fmt::Display`] writes; anything else is another server's version.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let hexadecimal = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !hexadecimal {
            return None;
        }
        u128::from_str_radix(text, 16).ok().map(Self)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One named, versioned, encoded resource. A clone shares everything.
#[derive(Clone)]
pub struct Resource(Arc<Content>);

struct Content {
    kind: ResourceType,
    name: Arc<str>,
    version: Version,
    body: Bytes,
    /// For a cluster: the assignment that it takes from EDS.
    endpoints: Option<Arc<str>>,
}

impl Resource {
    /// `body` is the encoded message, that is the value of the `Any`. Its hash is the version.
    pub fn new(kind: ResourceType, name: impl Into<Arc<str>>, body: Bytes) -> Self {
        let version = Version::of(&body);
        Self::build(kind, name.into(), version, body)
    }

    /// A resource whose version is the hash of `seed`. For content that is the same although
    /// its bytes differ, such as a duration counted from the moment of rendering: two
    /// resources of one version are one content, and a client that has either has both.
    pub fn with_version_of(
        kind: ResourceType,
        name: impl Into<Arc<str>>,
        body: Bytes,
        seed: &[u8],
    ) -> Self {
        Self::build(kind, name.into(), Version::of(seed), body)
    }

    #[must_use]
    pub fn kind(&self) -> ResourceType {
        self.0.kind
    }

    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.0.name
    }

    #[must_use]
    pub fn version(&self) -> Version {
        self.0.version
    }

    /// The encoded message.
    #[must_use]
    pub fn body(&self) -> &Bytes {
        &self.0.body
    }

    pub(crate) fn endpoints(&self) -> Option<&Arc<str>> {
        self.0.endpoints.as_ref()
    }

    fn build(kind: ResourceType, name: Arc<str>, version: Version, body: Bytes) -> Self {
        let endpoints = (kind == ResourceType::Cluster)
            .then(|| reference::endpoints_of_cluster(&body, &name))
            .flatten();
        Self(Arc::new(Content {
            kind,
            name,
            version,
            body,
            endpoints,
        }))
    }
}

impl fmt::Debug for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Content {
            kind,
            name,
            version,
            ..
        } = &*self.0;
        write!(f, "{kind} {name}@{version}")
    }
}

/// All resources of one type, by name. Built once and shared: by groups that have the same
/// ones, and by every stream.
#[derive(Clone)]
pub struct ResourceSet {
    kind: ResourceType,
    resources: BTreeMap<Arc<str>, Resource>,
    version: Version,
}

impl ResourceSet {
    /// # Errors
    /// [`ResourceSetError`], naming the resource that does not fit.
    pub fn new(
        kind: ResourceType,
        resources: impl IntoIterator<Item = Resource>,
    ) -> Result<Self, ResourceSetError> {
        let mut by_name = BTreeMap::new();
        for resource in resources {
            let name = Arc::clone(resource.name());
            if resource.kind() != kind {
                return Err(ResourceSetError::Kind {
                    name,
                    kind,
                    found: resource.kind(),
                });
            }
            if name.is_empty() || &*name == WILDCARD {
                return Err(ResourceSetError::Name { name, kind });
            }
            if by_name.insert(Arc::clone(&name), resource).is_some() {
                return Err(ResourceSetError::Duplicate { name, kind });
            }
        }
        Ok(Self::of(kind, by_name))
    }

    #[must_use]
    pub fn kind(&self) -> ResourceType {
        self.kind
    }

    /// Changes if and only if the version of a resource in it does, or their names do.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Resource> {
        self.resources.get(name)
    }

    /// By name, ascending.
    pub fn iter(&self) -> impl Iterator<Item = &Resource> {
        self.resources.values()
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.resources.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.resources.is_empty()
    }

    pub(crate) fn of(kind: ResourceType, resources: BTreeMap<Arc<str>, Resource>) -> Self {
        let version = version_of(resources.values());
        Self {
            kind,
            resources,
            version,
        }
    }

    pub(crate) fn resources(&self) -> &BTreeMap<Arc<str>, Resource> {
        &self.resources
    }
}

impl fmt::Debug for ResourceSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// One version for many resources, which must come in the order of their names.
pub(crate) fn version_of<'a>(resources: impl Iterator<Item = &'a Resource>) -> Version {
    let mut hash = Sha256::new();
    for resource in resources {
        // The length keeps one name's end apart from the next one's beginning.
        hash.update((resource.name().len() as u64).to_be_bytes());
        hash.update(resource.name().as_bytes());
        hash.update(resource.version().0.to_be_bytes());
    }
    Version::finish(hash)
}

/// Why resources do not make a set.
#[derive(Debug, thiserror::Error)]
pub enum ResourceSetError {
    #[error("two resources of type {kind} are called {name}")]
    Duplicate { name: Arc<str>, kind: ResourceType },
    #[error("{name:?} cannot be the name of a {kind}: it is empty or the wildcard")]
    Name { name: Arc<str>, kind: ResourceType },
    #[error("{name} is a {found} and cannot be in a set of type {kind}")]
    Kind {
        name: Arc<str>,
        kind: ResourceType,
        found: ResourceType,
    },
}

/// The name that subscribes to everything.
pub(crate) const WILDCARD: &str = "*";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_content_has_an_equal_version_and_other_content_another() {
        let a = Resource::new(ResourceType::Route, "a", Bytes::from_static(b"1"));
        let same = Resource::new(ResourceType::Route, "a", Bytes::from_static(b"1"));
        let other = Resource::new(ResourceType::Route, "a", Bytes::from_static(b"2"));
        assert_eq!(a.version(), same.version());
        assert_ne!(a.version(), other.version());
    }

    #[test]
    fn a_seed_decides_the_version_whatever_the_body_is() {
        let body = Bytes::from_static(b"29.9 s left");
        let later = Bytes::from_static(b"12.1 s left");
        let a = Resource::with_version_of(ResourceType::Endpoints, "a", body, b"until 30");
        let b = Resource::with_version_of(ResourceType::Endpoints, "a", later, b"until 30");
        assert_eq!(a.version(), b.version());
        assert_ne!(a.body(), b.body());
    }

    #[test]
    fn a_version_survives_the_wire_and_a_foreign_one_is_none() {
        let version = Version::of(b"content");
        assert_eq!(Version::parse(&version.to_string()), Some(version));
        assert_eq!(Version::parse("7"), None);
        assert_eq!(Version::parse("+0000000000000000000000000000000"), None);
    }

    #[test]
    fn a_set_refuses_a_name_twice() {
        let a = Resource::new(ResourceType::Route, "a", Bytes::new());
        let error = ResourceSet::new(ResourceType::Route, [a.clone(), a]).unwrap_err();
        assert!(matches!(error, ResourceSetError::Duplicate { .. }));
    }
}
