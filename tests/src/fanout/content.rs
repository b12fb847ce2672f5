//! What is served and what is said about it: one endpoint assignment whose address changes.

use std::collections::HashMap;

use anyhow::{Context, bail, ensure};
use envoy_types::pb::envoy::config::core::v3::{
    Address, Node, SocketAddress, address, socket_address::PortSpecifier,
};
use envoy_types::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints, lb_endpoint::HostIdentifier,
};
use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use prost::Message;

/// The database whose writer moves.
pub(super) const NAME: &str = "writer.orders";

pub(super) const TYPE_URL: &str =
    "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";

/// The assignment of `name`, encoded; another `version` is another address.
pub(super) fn assignment(name: &str, version: u16) -> Vec<u8> {
    let [high, low] = version.to_be_bytes();
    let address = Address {
        address: Some(address::Address::SocketAddress(SocketAddress {
            address: format!("10.20.{high}.{low}"),
            port_specifier: Some(PortSpecifier::PortValue(5432)),
            ..Default::default()
        })),
    };
    let endpoint = LbEndpoint {
        host_identifier: Some(HostIdentifier::Endpoint(Endpoint {
            address: Some(address),
            ..Default::default()
        })),
        ..Default::default()
    };
    let assignment = ClusterLoadAssignment {
        cluster_name: name.to_owned(),
        endpoints: vec![LocalityLbEndpoints {
            lb_endpoints: vec![endpoint],
            ..Default::default()
        }],
        ..Default::default()
    };
    assignment.encode_to_vec()
}

/// The name of the node behind the connection of this number.
pub(super) fn node_id(number: usize) -> String {
    format!("sidecar-{number:05}")
}

/// The first request of a stream: who it is, and that it wants [`NAME`].
pub(super) fn subscription(number: usize) -> Vec<u8> {
    let node = Node {
        id: node_id(number),
        cluster: "fleet".to_owned(),
        user_agent_name: "envoy".to_owned(),
        ..Default::default()
    };
    let request = DeltaDiscoveryRequest {
        node: Some(node),
        type_url: TYPE_URL.to_owned(),
        resource_names_subscribe: vec![NAME.to_owned()],
        initial_resource_versions: HashMap::new(),
        ..Default::default()
    };
    request.encode_to_vec()
}

/// Writes the message that accepts the response of this nonce.
pub(super) fn put_ack(message: &mut Vec<u8>, nonce: &[u8]) {
    put_bytes(message, 2, TYPE_URL.as_bytes());
    put_bytes(message, 6, nonce);
}

/// What a response brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Delivery<'a> {
    pub(super) nonce: &'a [u8],
    /// The assignment of [`NAME`].
    pub(super) body: &'a [u8],
}

/// Looks into a `DeltaDiscoveryResponse`: it must bring exactly one assignment, that of
/// [`NAME`], with a version.
///
/// # Errors
/// It is something else.
pub(super) fn read_response(response: &[u8]) -> anyhow::Result<Delivery<'_>> {
    let (mut nonce, mut body) = (None, None);
    for field in fields(response) {
        match field? {
            (2, resource) => {
                let one = body.replace(read_resource(resource)?).is_none();
                ensure!(one, "it has several resources");
            }
            (4, type_url) => ensure!(type_url == TYPE_URL.as_bytes(), "it is of another type"),
            (5, text) => nonce = Some(text),
            (6, _) => bail!("it removes something"),
            _ => {}
        }
    }
    Ok(Delivery {
        nonce: nonce.context("it has no nonce")?,
        body: body.context("it has no resource")?,
    })
}

fn read_resource(resource: &[u8]) -> anyhow::Result<&[u8]> {
    let (mut named, mut versioned, mut body) = (false, false, None);
    for field in fields(resource) {
        match field? {
            (1, version) => versioned = !version.is_empty(),
            (2, any) => {
                for part in fields(any) {
                    match part? {
                        (1, url) => ensure!(url == TYPE_URL.as_bytes(), "another type inside"),
                        (2, value) => body = Some(value),
                        _ => {}
                    }
                }
            }
            (3, name) => named = name == NAME.as_bytes(),
            _ => {}
        }
    }
    ensure!(named, "its resource has another name");
    ensure!(versioned, "its resource has no version");
    body.context("its resource is empty")
}

/// The fields of an encoded message that have a length, by number.
fn fields(mut rest: &[u8]) -> impl Iterator<Item = anyhow::Result<(u64, &[u8])>> {
    std::iter::from_fn(move || (!rest.is_empty()).then(|| next_field(&mut rest)))
}

fn next_field<'a>(rest: &mut &'a [u8]) -> anyhow::Result<(u64, &'a [u8])> {
    let key = varint(rest)?;
    let length = match key & 7 {
        0 => {
            varint(rest)?;
            0
        }
        1 => 8,
        2 => usize::try_from(varint(rest)?)?,
        5 => 4,
        wire_type => bail!("wire type {wire_type}"),
    };
    let field = rest.get(..length).context("a field is cut off")?;
    *rest = &rest[length..];
    Ok((key >> 3, field))
}

fn varint(rest: &mut &[u8]) -> anyhow::Result<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first().context("a number is cut off")?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    bail!("a number has more than ten bytes")
}

/// A field of at most 127 bytes.
fn put_bytes(message: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    message.push(number << 3 | 2);
    message.extend(u8::try_from(bytes.len()));
    message.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryResponse, Resource};
    use envoy_types::pb::google::protobuf::Any;

    use super::*;

    fn response(name: &str, body: Vec<u8>) -> Vec<u8> {
        let response = DeltaDiscoveryResponse {
            resources: vec![Resource {
                name: name.to_owned(),
                version: "1".to_owned(),
                resource: Some(Any {
                    type_url: TYPE_URL.to_owned(),
                    value: body,
                }),
                ..Default::default()
            }],
            type_url: TYPE_URL.to_owned(),
            nonce: "nonce".to_owned(),
            ..Default::default()
        };
        response.encode_to_vec()
    }

    #[test]
    fn a_response_with_another_name_or_a_missing_end_is_refused() {
        let body = assignment(NAME, 2);
        let right = response(NAME, body.clone());
        let delivery = read_response(&right).unwrap();
        assert_eq!((delivery.nonce, delivery.body), (&b"nonce"[..], &body[..]));
        read_response(&response("other", body)).unwrap_err();
        read_response(&right[..40]).unwrap_err();
    }

    #[test]
    fn an_ack_is_a_request_that_prost_reads() {
        let mut message = Vec::new();
        put_ack(&mut message, b"nonce");
        let request = DeltaDiscoveryRequest::decode(&message[..]).unwrap();
        assert_eq!(request.type_url, TYPE_URL);
        assert_eq!(request.response_nonce, "nonce");
        assert!(request.error_detail.is_none());
    }
}
