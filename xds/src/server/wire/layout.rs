use std::borrow::Cow;

use bytes::Bytes;

use crate::resource::Resource;

/// The differences between the two forms of response. Version, type and nonce have equal field numbers.
/// <https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/discovery/v3/discovery.proto>
pub(super) struct Layout {
    pub(super) resource: fn(&Resource, takes_ttl: bool, heartbeat: bool) -> Cow<'_, Bytes>,
    pub(super) removed: Option<u32>,
    pub(super) control_plane: u32,
}

pub(super) const DELTA: Layout = Layout {
    resource: Resource::delta_field,
    removed: Some(6),
    control_plane: 7,
};

pub(super) const SOTW: Layout = Layout {
    resource: Resource::sotw_field,
    removed: None,
    control_plane: 6,
};
