//! The fields of requests that are used.
//! <https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/discovery/v3/discovery.proto>

use std::{collections::HashMap, sync::Arc};

use crate::stream::{DeltaRequest, Reply, SotwRequest};

/// `DeltaDiscoveryRequest` without its node.
#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::server) struct DeltaRequestWire {
    #[prost(string, tag = "2")]
    pub(super) type_url: String,
    #[prost(string, repeated, tag = "3")]
    pub(super) subscribe: Vec<String>,
    #[prost(string, repeated, tag = "4")]
    unsubscribe: Vec<String>,
    #[prost(map = "string, string", tag = "5")]
    initial_versions: HashMap<String, String>,
    #[prost(string, tag = "6")]
    nonce: String,
    #[prost(message, optional, tag = "7")]
    error: Option<ErrorDetail>,
}

/// `DiscoveryRequest` without its node.
#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::server) struct SotwRequestWire {
    #[prost(string, tag = "1")]
    version: String,
    #[prost(string, repeated, tag = "3")]
    pub(super) names: Vec<String>,
    #[prost(string, tag = "4")]
    pub(super) type_url: String,
    #[prost(string, tag = "5")]
    nonce: String,
    #[prost(message, optional, tag = "6")]
    error: Option<ErrorDetail>,
}

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, prost::Message)]
struct ErrorDetail {
    #[prost(string, tag = "2")]
    message: String,
}

impl From<DeltaRequestWire> for DeltaRequest {
    fn from(request: DeltaRequestWire) -> Self {
        Self {
            subscribe: request.subscribe,
            unsubscribe: request.unsubscribe,
            initial_versions: request.initial_versions,
            reply: reply(request.nonce, request.error),
        }
    }
}

impl From<SotwRequestWire> for SotwRequest {
    fn from(request: SotwRequestWire) -> Self {
        Self {
            names: request.names,
            version: request.version,
            reply: reply(request.nonce, request.error),
        }
    }
}

fn reply(nonce: String, error: Option<ErrorDetail>) -> Reply {
    Reply {
        nonce,
        error: error.map(|error| truncated(error.message)),
    }
}

/// A client's error message, cut to its bound.
fn truncated(mut message: String) -> Arc<str> {
    if message.len() > MAX_MESSAGE {
        message.truncate(message.floor_char_boundary(MAX_MESSAGE));
        message.push('…');
    }
    message.into()
}

/// In bytes. Envoy writes a line or two per NACKed resource.
const MAX_MESSAGE: usize = 4096;
