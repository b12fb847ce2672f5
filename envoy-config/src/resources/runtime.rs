use envoy_types::pb::{envoy::service::runtime::v3::Runtime, google::protobuf::Struct};
use pointsman_xds::ResourceType;
use prost::Message as _;

use super::Rendered;
use crate::names::RUNTIME_LAYER;

/// Empty, and still sent: a sidecar waits for the layer that its bootstrap names.
pub(super) fn layer() -> Rendered {
    let runtime = Runtime {
        name: RUNTIME_LAYER.to_owned(),
        layer: Some(Struct::default()),
    };
    Rendered::new(
        ResourceType::Runtime,
        RUNTIME_LAYER,
        runtime.encode_to_vec(),
    )
}
