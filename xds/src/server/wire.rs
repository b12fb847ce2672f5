//! The messages of the two forms of the protocol, to and from the machine's words.

use std::{sync::Arc, time::Duration};

use envoy_types::pb::{
    envoy::{
        config::core::v3::{ControlPlane, Node},
        service::discovery::v3 as discovery,
    },
    google::{
        protobuf::{Any, Duration as ProtoDuration},
        rpc,
    },
};
use prost::{Message as _, Name as _};
use tokio::time::Instant;

use crate::{
    resource::{Resource, ResourceType},
    stream::{DeltaRequest, Machine, Reply, Response, SotwRequest, Transport, Violation},
};

/// One form of the protocol.
pub(super) trait Form: Send + 'static {
    const TRANSPORT: Transport;
    type Request: Send + 'static;
    type Response: Send + 'static;

    fn node(request: &mut Self::Request) -> Option<Node>;

    fn type_url(request: &Self::Request) -> &str;

    fn enter(
        machine: &mut Machine,
        kind: ResourceType,
        request: Self::Request,
        now: Instant,
    ) -> Result<(), Violation>;

    fn encode(response: Response, identifier: &str) -> Self::Response;
}

#[derive(Debug)]
pub(super) struct Delta;

impl Form for Delta {
    const TRANSPORT: Transport = Transport::Delta;
    type Request = discovery::DeltaDiscoveryRequest;
    type Response = discovery::DeltaDiscoveryResponse;

    fn node(request: &mut Self::Request) -> Option<Node> {
        request.node.take()
    }

    fn type_url(request: &Self::Request) -> &str {
        &request.type_url
    }

    fn enter(
        machine: &mut Machine,
        kind: ResourceType,
        request: Self::Request,
        now: Instant,
    ) -> Result<(), Violation> {
        let request = DeltaRequest {
            subscribe: request.resource_names_subscribe,
            unsubscribe: request.resource_names_unsubscribe,
            initial_versions: request.initial_resource_versions,
            reply: reply(request.response_nonce, request.error_detail),
        };
        machine.delta(kind, &request, now)
    }

    fn encode(response: Response, identifier: &str) -> Self::Response {
        let resources = response
            .resources
            .iter()
            .map(|resource| discovery::Resource {
                name: resource.name().as_ref().to_owned(),
                version: resource.version().to_string(),
                resource: (!response.heartbeat).then(|| any(resource)),
                ttl: resource.ttl().filter(|_| response.ttl).map(duration),
                ..Default::default()
            });
        let removed = response.removed.iter().map(|name| name.as_ref().to_owned());
        discovery::DeltaDiscoveryResponse {
            system_version_info: response.version.to_string(),
            resources: resources.collect(),
            type_url: response.kind.type_url().to_owned(),
            removed_resources: removed.collect(),
            nonce: response.nonce.as_ref().to_owned(),
            control_plane: control_plane(identifier),
            ..Default::default()
        }
    }
}

#[derive(Debug)]
pub(super) struct StateOfTheWorld;

impl Form for StateOfTheWorld {
    const TRANSPORT: Transport = Transport::StateOfTheWorld;
    type Request = discovery::DiscoveryRequest;
    type Response = discovery::DiscoveryResponse;

    fn node(request: &mut Self::Request) -> Option<Node> {
        request.node.take()
    }

    fn type_url(request: &Self::Request) -> &str {
        &request.type_url
    }

    fn enter(
        machine: &mut Machine,
        kind: ResourceType,
        request: Self::Request,
        now: Instant,
    ) -> Result<(), Violation> {
        let request = SotwRequest {
            names: request.resource_names,
            version: request.version_info,
            reply: reply(request.response_nonce, request.error_detail),
        };
        machine.sotw(kind, &request, now)
    }

    fn encode(response: Response, identifier: &str) -> Self::Response {
        let resources = response.resources.iter().map(|resource| {
            if response.ttl {
                wrapped(resource, response.heartbeat)
            } else {
                any(resource)
            }
        });
        discovery::DiscoveryResponse {
            version_info: response.version.to_string(),
            resources: resources.collect(),
            type_url: response.kind.type_url().to_owned(),
            nonce: response.nonce.as_ref().to_owned(),
            control_plane: control_plane(identifier),
            ..Default::default()
        }
    }
}

fn reply(nonce: String, error: Option<rpc::Status>) -> Reply {
    Reply {
        nonce,
        error: error.map(|error| words(error.message)),
    }
}

/// A client's words, cut to what can be kept and shown.
fn words(mut message: String) -> Arc<str> {
    if message.len() > MAX_WORDS {
        message.truncate(message.floor_char_boundary(MAX_WORDS));
        message.push('…');
    }
    message.into()
}

fn any(resource: &Resource) -> Any {
    Any {
        type_url: resource.kind().type_url().to_owned(),
        value: resource.body().to_vec(),
    }
}

/// State of the world has no other place for a time to live.
fn wrapped(resource: &Resource, heartbeat: bool) -> Any {
    let inside = discovery::Resource {
        name: resource.name().as_ref().to_owned(),
        version: resource.version().to_string(),
        resource: (!heartbeat).then(|| any(resource)),
        ttl: resource.ttl().map(duration),
        ..Default::default()
    };
    Any {
        type_url: discovery::Resource::type_url(),
        value: inside.encode_to_vec(),
    }
}

/// Times to live are reckoned in whole milliseconds.
fn duration(ttl: Duration) -> ProtoDuration {
    ProtoDuration {
        seconds: i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(ttl.subsec_nanos()).unwrap_or_default(),
    }
}

fn control_plane(identifier: &str) -> Option<ControlPlane> {
    Some(ControlPlane {
        identifier: identifier.to_owned(),
    })
}

/// In bytes. Envoy says a line or two per refused resource; a thousand of them are enough to
/// find the cause.
const MAX_WORDS: usize = 4096;
