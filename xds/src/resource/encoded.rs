//! Encodes a resource as a field of a response.

use std::time::Duration;

use bytes::Bytes;
use envoy_types::pb::{
    envoy::service::discovery::v3::Resource as Entry,
    google::protobuf::{Any, Duration as ProtoDuration},
};
use prost::{Message, Name as _, encoding::message};

use super::Resource;

/// The number of the field `resources`, in both forms of response.
/// <https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/discovery/v3/discovery.proto>
const RESOURCES: u32 = 2;

/// A field `resources` of a `DeltaDiscoveryResponse`, tag included.
pub(super) fn delta(resource: &Resource, ttl: Option<Duration>, heartbeat: bool) -> Bytes {
    field(&entry(resource, ttl, heartbeat))
}

/// The same for a name that a client waits for and that does not exist. Envoy accepts an entry
/// without a body for that if it has an alias.
pub(crate) fn absent(name: &str) -> Bytes {
    field(&Entry {
        name: name.to_owned(),
        aliases: vec![name.to_owned()],
        ..Entry::default()
    })
}

/// A field `resources` of a `DiscoveryResponse`, tag included.
pub(super) fn state_of_the_world(resource: &Resource) -> Bytes {
    field(&any(resource))
}

/// The same, wrapped in a discovery `Resource`, for a client that supports TTLs. State of the world
/// has no other field for a TTL.
pub(super) fn wrapped(resource: &Resource, ttl: Option<Duration>, heartbeat: bool) -> Bytes {
    field(&Any {
        type_url: Entry::type_url(),
        value: entry(resource, ttl, heartbeat).encode_to_vec(),
    })
}

fn field(message: &impl Message) -> Bytes {
    let mut field = Vec::with_capacity(message::encoded_len(RESOURCES, message));
    message::encode(RESOURCES, message, &mut field);
    field.into()
}

fn entry(resource: &Resource, ttl: Option<Duration>, heartbeat: bool) -> Entry {
    Entry {
        name: resource.name().as_ref().to_owned(),
        version: resource.version().to_string(),
        resource: (!heartbeat).then(|| any(resource)),
        ttl: ttl.map(duration),
        ..Entry::default()
    }
}

fn any(resource: &Resource) -> Any {
    Any {
        type_url: resource.kind().type_url().to_owned(),
        value: resource.body().to_vec(),
    }
}

/// A TTL is a whole number of milliseconds.
fn duration(ttl: Duration) -> ProtoDuration {
    ProtoDuration {
        seconds: i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(ttl.subsec_nanos()).unwrap_or_default(),
    }
}
