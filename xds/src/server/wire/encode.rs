//! Encodes a response: its own fields, and the shared encoded fields of the resources.

use std::{borrow::Cow, io::Write as _};

use bytes::Bytes;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};

use super::layout::Layout;
use crate::{http2::Chunks, resource::absent, server::grpc, stream::Response};

pub(super) fn response(response: &Response, layout: &Layout, control_plane: &[u8]) -> Chunks {
    let resources = response.resources.iter();
    let resources =
        resources.map(|resource| (layout.resource)(resource, response.ttl, response.heartbeat));
    let absent = response.absent.iter().map(|name| Cow::Owned(absent(name)));
    let fields = resources.chain(absent);
    let shared: usize = fields.clone().map(|field| field.len()).sum();
    let small = shared <= COPIED;
    let own = own_length(response, layout, control_plane);
    // The exact capacity, so that the conversion to `Bytes` does not copy.
    let room = if small { own + shared } else { own };
    let mut head = Vec::with_capacity(grpc::PREFIX + room);
    // A message of 4 GiB is above every client's limit.
    let length = u32::try_from(own + shared).unwrap_or(u32::MAX);
    head.push(0);
    head.extend_from_slice(&length.to_be_bytes());
    begin(&mut head, VERSION, VERSION_LENGTH);
    // Writing to memory does not fail.
    let _ = write!(head, "{}", response.version);
    text(&mut head, TYPE_URL, response.kind.type_url());
    text(&mut head, NONCE, &response.nonce);
    if let Some(number) = layout.removed {
        for name in &response.removed {
            text(&mut head, number, name);
        }
    }
    encode_key(layout.control_plane, WireType::LengthDelimited, &mut head);
    head.extend_from_slice(control_plane);
    if small {
        fields.for_each(|field| head.extend_from_slice(&field));
        return Bytes::from(head).into();
    }
    let mut chunks = Chunks::from(Bytes::from(head));
    fields.for_each(|field| chunks.push(field.into_owned()));
    chunks
}

/// The length of the response's own fields, in bytes.
fn own_length(response: &Response, layout: &Layout, control_plane: &[u8]) -> usize {
    let field = |length: usize| KEY + encoded_len_varint(length as u64) + length;
    let removed = response.removed.iter().map(|name| field(name.len()));
    let removed: usize = layout.removed.map_or(0, |_| removed.sum());
    let texts = [
        VERSION_LENGTH,
        response.kind.type_url().len(),
        response.nonce.len(),
    ];
    texts.into_iter().map(field).sum::<usize>() + removed + KEY + control_plane.len()
}

fn text(out: &mut Vec<u8>, number: u32, text: &str) {
    begin(out, number, text.len());
    out.extend_from_slice(text.as_bytes());
}

fn begin(out: &mut Vec<u8>, number: u32, length: usize) {
    encode_key(number, WireType::LengthDelimited, out);
    encode_varint(length as u64, out);
}

const VERSION: u32 = 1;
const TYPE_URL: u32 = 4;
const NONCE: u32 = 5;

/// The size of a field's key, in bytes: all field numbers are below 16.
const KEY: usize = 1;
/// The length of a version as text.
const VERSION_LENGTH: usize = 32;
/// Up to this size, in bytes, copying into one chunk is cheaper than several shared chunks.
const COPIED: usize = 2048;
