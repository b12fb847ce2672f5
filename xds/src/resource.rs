mod encoded;
mod kind;
mod reference;
mod set;
mod version;

use std::{
    borrow::Cow,
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;

use self::reference::Reference;
pub(crate) use self::{
    encoded::absent,
    set::{ResourceChange, WILDCARD, version_of},
};
pub use self::{
    kind::ResourceType,
    set::{ResourceSet, ResourceSetError},
    version::Version,
};

/// One named, versioned, encoded resource. A clone shares everything.
#[derive(Clone)]
pub struct Resource(Arc<Content>);

#[derive(Clone)]
struct Content {
    kind: ResourceType,
    name: Arc<str>,
    version: Version,
    /// The hash that it adds to the version of its set.
    share: Version,
    body: Bytes,
    ttl: Option<Duration>,
    references: Box<[Reference]>,
    /// The encoded response field without a TTL, for delta and for state of the world. Encoded when
    /// it is first sent.
    encoded: [OnceLock<Bytes>; 2],
}

impl Resource {
    /// `body` is the encoded message: the value of the `Any`. Its hash is the version.
    pub fn new(kind: ResourceType, name: impl Into<Arc<str>>, body: Bytes) -> Self {
        let version = Version::of(&body);
        Self::build(kind, name.into(), version, body)
    }

    /// A resource whose version is the hash of `seed`. Use it for content that is equal although its
    /// bytes differ, for example a duration counted from the moment of rendering. A client that has
    /// one of two resources with equal versions is not sent the other.
    pub fn with_version_of(
        kind: ResourceType,
        name: impl Into<Arc<str>>,
        body: Bytes,
        seed: &[u8],
    ) -> Self {
        Self::build(kind, name.into(), Version::of(seed), body)
    }

    /// Lets clients drop the resource if they have not heard of it for `ttl`. The TTL is rounded down
    /// to whole milliseconds, at least one. Clients that support TTLs get a heartbeat after half of
    /// that time; others are not sent the TTL. A different TTL makes a different version.
    /// <https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#ttl>
    #[must_use]
    pub fn with_ttl(self, ttl: Duration) -> Self {
        let ttl = Duration::from_millis(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).max(1));
        let mut content = Arc::unwrap_or_clone(self.0);
        content.version = content.version.with_ttl(ttl.as_secs(), ttl.subsec_nanos());
        content.share = content.version.with_name(&content.name);
        content.ttl = Some(ttl);
        content.encoded = Default::default();
        Self(Arc::new(content))
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

    /// How long a client may keep the resource without hearing of it.
    #[must_use]
    pub fn ttl(&self) -> Option<Duration> {
        self.0.ttl
    }

    /// The same resource with another version and the same TTL. Used for heartbeats.
    pub(crate) fn in_version(&self, version: Version) -> Self {
        let mut content = Content::clone(&self.0);
        content.version = version;
        content.share = version.with_name(&content.name);
        content.encoded = Default::default();
        Self(Arc::new(content))
    }

    /// For a cluster: the name of the endpoints that it takes from EDS.
    pub(crate) fn endpoints(&self) -> Option<&Arc<str>> {
        self.references()
            .find(|(kind, _)| *kind == ResourceType::Endpoints)
            .map(|(_, name)| name)
    }

    /// The resources that a client requests because of this one, and needs before it uses this one.
    pub(crate) fn references(&self) -> impl Iterator<Item = (ResourceType, &Arc<str>)> {
        self.0.references.iter().map(|(kind, name)| (*kind, name))
    }

    /// The encoded field `resources` of a delta response with this resource. It has the TTL if the
    /// client `takes_ttl`, and no body in a `heartbeat`.
    pub(crate) fn delta_field(&self, takes_ttl: bool, heartbeat: bool) -> Cow<'_, Bytes> {
        let ttl = self.ttl().filter(|_| takes_ttl);
        if heartbeat || ttl.is_some() {
            return Cow::Owned(encoded::delta(self, ttl, heartbeat));
        }
        Cow::Borrowed(self.0.encoded[0].get_or_init(|| encoded::delta(self, None, false)))
    }

    /// The same for a state-of-the-world response.
    pub(crate) fn sotw_field(&self, takes_ttl: bool, heartbeat: bool) -> Cow<'_, Bytes> {
        if heartbeat || takes_ttl {
            let ttl = self.ttl();
            return Cow::Owned(encoded::wrapped(self, ttl, heartbeat));
        }
        Cow::Borrowed(self.0.encoded[1].get_or_init(|| encoded::state_of_the_world(self)))
    }

    fn share(&self) -> Version {
        self.0.share
    }

    fn build(kind: ResourceType, name: Arc<str>, version: Version, body: Bytes) -> Self {
        Self(Arc::new(Content {
            share: version.with_name(&name),
            references: reference::of(kind, &name, &body),
            ttl: None,
            kind,
            name,
            version,
            body,
            encoded: Default::default(),
        }))
    }
}

impl PartialEq for Resource {
    fn eq(&self, other: &Self) -> bool {
        let same = |a: &Content, b: &Content| {
            a.version == b.version && a.name == b.name && a.kind == b.kind
        };
        Arc::ptr_eq(&self.0, &other.0) || same(&self.0, &other.0)
    }
}

impl Eq for Resource {}

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
    fn another_time_to_live_is_another_version() {
        let plain = Resource::new(ResourceType::Route, "a", Bytes::from_static(b"1"));
        let brief = plain.clone().with_ttl(Duration::from_secs(1));
        let again = plain.clone().with_ttl(Duration::from_secs(1));
        assert_ne!(plain.version(), brief.version());
        assert_eq!(brief.version(), again.version());
        let none = plain.with_ttl(Duration::ZERO);
        assert_eq!(none.ttl(), Some(Duration::from_millis(1)));
    }
}
