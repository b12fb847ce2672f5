use prost::{DecodeError, Message as _};

/// The id of the node in a report of either kind; empty if there is none.
///
/// # Errors
/// If it is not a report.
pub(crate) fn node_id(message: &[u8]) -> Result<String, DecodeError> {
    let identifier = ReportHead::decode(message)?.identifier;
    let node = identifier.and_then(|identifier| identifier.node);
    Ok(node.unwrap_or_default().id)
}

/// `StreamAccessLogsMessage` and `StreamMetricsMessage`.
#[derive(Clone, PartialEq, prost::Message)]
struct ReportHead {
    #[prost(message, optional, tag = "1")]
    identifier: Option<IdentifierHead>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct IdentifierHead {
    #[prost(message, optional, tag = "1")]
    node: Option<NodeHead>,
}

/// The id of `envoy.config.core.v3.Node`. The other fields can be large.
#[derive(Clone, PartialEq, prost::Message)]
struct NodeHead {
    #[prost(string, tag = "1")]
    id: String,
}
