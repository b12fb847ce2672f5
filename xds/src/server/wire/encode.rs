//! A response: a short head of its own, and the resources as they were encoded for everybody.

use std::fmt::Write as _;

use bytes::Bytes;
use prost::encoding::{WireType, encode_key, encode_varint};

use super::Layout;
use crate::{http2::Chunks, server::grpc, stream::Response};

pub(super) fn response(response: &Response, layout: &Layout, control_plane: &[u8]) -> Chunks {
    let fields = response
        .resources
        .iter()
        .map(|resource| (layout.resource)(resource, response.ttl, response.heartbeat));
    let shared: usize = fields.clone().map(|field| field.len()).sum();
    let small = shared <= COPIED;
    let room = if small { HEAD + shared } else { HEAD };
    let mut head = Vec::with_capacity(room);
    head.resize(grpc::PREFIX, 0);
    text(&mut head, VERSION, &version(response));
    text(&mut head, TYPE_URL, response.kind.type_url());
    text(&mut head, NONCE, &response.nonce);
    if let Some(number) = layout.removed {
        for name in &response.removed {
            text(&mut head, number, name);
        }
    }
    encode_key(layout.control_plane, WireType::LengthDelimited, &mut head);
    head.extend_from_slice(control_plane);
    let length = head.len() - grpc::PREFIX + shared;
    // A message of 4 GiB is beyond any client's limit; it will say so.
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    head[1..grpc::PREFIX].copy_from_slice(&length.to_be_bytes());
    if small {
        fields.for_each(|field| head.extend_from_slice(&field));
        return Bytes::from(head).into();
    }
    let mut chunks = Chunks::from(Bytes::from(head));
    fields.for_each(|field| chunks.push(field.into_owned()));
    chunks
}

fn version(response: &Response) -> String {
    let mut version = String::with_capacity(32);
    // Writing to a string does not fail.
    let _ = write!(version, "{}", response.version);
    version
}

fn text(out: &mut Vec<u8>, number: u32, text: &str) {
    encode_key(number, WireType::LengthDelimited, out);
    encode_varint(text.len() as u64, out);
    out.extend_from_slice(text.as_bytes());
}

const VERSION: u32 = 1;
const TYPE_URL: u32 = 4;
const NONCE: u32 = 5;

/// In bytes: what the fields of a response that are its own usually need.
const HEAD: usize = 256;
/// In bytes: up to here one piece is cheaper than several shared ones.
const COPIED: usize = 2048;
