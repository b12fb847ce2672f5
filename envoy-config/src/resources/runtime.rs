use envoy_types::pb::{
    envoy::service::runtime::v3::Runtime,
    google::protobuf::{Struct, Value, value::Kind},
};
use pointsman_catalog::UnixMillis;
use pointsman_xds::ResourceType;
use prost::Message as _;

use super::Rendered;
use crate::names::RUNTIME_LAYER;

/// Nothing that a sidecar acts on, and still sent: it waits for the layer that its bootstrap
/// names. Each `rehearsal` is another content, which a sidecar can accept or refuse.
pub(super) fn layer(rehearsal: Option<UnixMillis>) -> Rendered {
    #[expect(
        clippy::cast_precision_loss,
        reason = "milliseconds since 1970 fit for the next 285,000 years"
    )]
    let fields = rehearsal.map(|at| {
        let at = Value {
            kind: Some(Kind::NumberValue(at.0 as f64)),
        };
        (REHEARSAL.to_owned(), at)
    });
    let runtime = Runtime {
        name: RUNTIME_LAYER.to_owned(),
        layer: Some(Struct {
            fields: fields.into_iter().collect(),
        }),
    };
    Rendered::new(
        ResourceType::Runtime,
        RUNTIME_LAYER,
        runtime.encode_to_vec(),
    )
}

/// A key that Envoy does not know.
const REHEARSAL: &str = "pointsman.rehearsal";
