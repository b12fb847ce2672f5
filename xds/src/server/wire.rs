//! Converts the messages of the two forms of the protocol to and from those of the machine.
//!
//! Only the fields that are used are decoded. Envoy's node has some 60 kB of extensions; it is read
//! once per stream.

mod encode;
mod layout;
mod request;

use envoy_types::pb::envoy::config::core::v3::ControlPlane;
use prost::Message;
use tokio::time::Instant;

use self::{
    layout::{DELTA, SOTW},
    request::{DeltaRequestWire, SotwRequestWire},
};
use crate::{
    http2::Chunks,
    resource::ResourceType,
    stream::{Machine, Response, Transport, Violation},
};

/// A form of the protocol: delta or state of the world.
pub(super) trait Form: Send + 'static {
    const TRANSPORT: Transport;
    /// The number of the field `node` in a request.
    const NODE: u32;
    type Request: Message + Default;

    fn type_url(request: &Self::Request) -> &str;

    /// The names that the request subscribes to.
    fn names(request: &Self::Request) -> &[String];

    fn enter(
        machine: &mut Machine,
        kind: ResourceType,
        request: Self::Request,
        now: Instant,
    ) -> Result<(), Violation>;

    /// Encodes a response as a framed gRPC message. `control_plane` is the result of
    /// [`control_plane`].
    fn encode(response: &Response, control_plane: &[u8]) -> Chunks;
}

#[derive(Debug)]
pub(super) struct Delta;

impl Form for Delta {
    const TRANSPORT: Transport = Transport::Delta;
    const NODE: u32 = 1;
    type Request = DeltaRequestWire;

    fn type_url(request: &Self::Request) -> &str {
        &request.type_url
    }

    fn names(request: &Self::Request) -> &[String] {
        &request.subscribe
    }

    fn enter(
        machine: &mut Machine,
        kind: ResourceType,
        request: Self::Request,
        now: Instant,
    ) -> Result<(), Violation> {
        machine.delta(kind, &request.into(), now)
    }

    fn encode(response: &Response, control_plane: &[u8]) -> Chunks {
        encode::response(response, &DELTA, control_plane)
    }
}

#[derive(Debug)]
pub(super) struct StateOfTheWorld;

impl Form for StateOfTheWorld {
    const TRANSPORT: Transport = Transport::StateOfTheWorld;
    const NODE: u32 = 2;
    type Request = SotwRequestWire;

    fn type_url(request: &Self::Request) -> &str {
        &request.type_url
    }

    fn names(request: &Self::Request) -> &[String] {
        &request.names
    }

    fn enter(
        machine: &mut Machine,
        kind: ResourceType,
        request: Self::Request,
        now: Instant,
    ) -> Result<(), Violation> {
        machine.sotw(kind, &request.into(), now)
    }

    fn encode(response: &Response, control_plane: &[u8]) -> Chunks {
        encode::response(response, &SOTW, control_plane)
    }
}

/// The encoded `control_plane` of a response, which names the server instance.
pub(super) fn control_plane(identifier: &str) -> Vec<u8> {
    let control_plane = ControlPlane {
        identifier: identifier.to_owned(),
    };
    control_plane.encode_length_delimited_to_vec()
}

#[cfg(test)]
mod tests;
