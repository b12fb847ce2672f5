//! As much of HTTP/2 and gRPC as one stream on one connection needs.
//! <https://www.rfc-editor.org/rfc/rfc9113>, <https://www.rfc-editor.org/rfc/rfc7541>

/// The stream that every client opens first, and its only one.
pub(super) const STREAM: u32 = 1;

/// The window of a stream and of a connection, before anybody changes it.
pub(super) const WINDOW: u32 = 65_535;

pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Frame types.
pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;

/// Flags.
pub(super) const ACK: u8 = 1;
pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
pub(super) const PADDED: u8 = 8;

const HEAD: usize = 9;
const PREFIX: usize = 5;

#[derive(Debug, Clone, Copy)]
pub(super) struct Frame<'a> {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    pub(super) payload: &'a [u8],
}

impl Frame<'_> {
    pub(super) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// The frame at the start of `bytes` and its length, once it is there in full.
pub(super) fn first_frame(bytes: &[u8]) -> Option<(Frame<'_>, usize)> {
    let head = bytes.first_chunk::<HEAD>()?;
    let [a, b, c, kind, flags, stream @ ..] = *head;
    let length = u32::from_be_bytes([0, a, b, c]) as usize;
    let payload = bytes.get(HEAD..HEAD + length)?;
    let frame = Frame {
        kind,
        flags,
        stream: u32::from_be_bytes(stream),
        payload,
    };
    Some((frame, HEAD + length))
}

pub(super) fn put_frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    put_head(out, payload.len(), kind, flags, stream);
    out.extend_from_slice(payload);
}

/// A DATA frame that carries one message, uncompressed.
pub(super) fn put_message(out: &mut Vec<u8>, message: &[u8]) {
    put_head(out, PREFIX + message.len(), DATA, 0, STREAM);
    out.push(0);
    out.extend_from_slice(&length_of(message.len()));
    out.extend_from_slice(message);
}

pub(super) fn put_window_update(out: &mut Vec<u8>, stream: u32, bytes: u32) {
    put_frame(out, WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes());
}

/// The message at the start of what DATA frames carried and its length with the prefix, once
/// it is there in full; `None` also for a compressed one, which nobody asked for.
pub(super) fn first_message(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let [0, a, b, c, d] = *bytes.first_chunk::<PREFIX>()? else {
        return None;
    };
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    let message = bytes.get(PREFIX..PREFIX + length)?;
    Some((message, PREFIX + length))
}

/// The headers that open a delta ADS stream, in HPACK without dynamic table and Huffman code.
pub(super) fn request_headers() -> Vec<u8> {
    // ":method: POST" and ":scheme: http" of the static table.
    let mut block = vec![0x83, 0x86];
    put_indexed_name(&mut block, 4, PATH);
    put_indexed_name(&mut block, 1, "bench");
    put_indexed_name(&mut block, 31, "application/grpc");
    put_new_name(&mut block, "te", "trailers");
    block
}

/// The headers of an answer that goes on.
pub(super) fn response_headers() -> Vec<u8> {
    // ":status: 200" of the static table.
    let mut block = vec![0x88];
    put_indexed_name(&mut block, 31, "application/grpc");
    block
}

/// A literal field without indexing, whose name the static table has.
fn put_indexed_name(block: &mut Vec<u8>, name: u8, value: &str) {
    match name {
        // The index has four bits; what does not fit follows.
        0..15 => block.push(name),
        15.. => block.extend_from_slice(&[0x0f, name - 15]),
    }
    put_text(block, value);
}

fn put_new_name(block: &mut Vec<u8>, name: &str, value: &str) {
    block.push(0);
    put_text(block, name);
    put_text(block, value);
}

/// Every text here is shorter than 127 bytes, where a length has one byte.
fn put_text(block: &mut Vec<u8>, text: &str) {
    block.extend(u8::try_from(text.len()));
    block.extend_from_slice(text.as_bytes());
}

fn put_head(out: &mut Vec<u8>, length: usize, kind: u8, flags: u8, stream: u32) {
    out.extend_from_slice(&length_of(length)[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
}

fn length_of(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes).unwrap_or(u32::MAX).to_be_bytes()
}

const PATH: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_found_in_its_frame_and_not_before_its_last_byte() {
        let mut bytes = Vec::new();
        put_message(&mut bytes, b"hello");
        assert!(first_frame(&bytes[..bytes.len() - 1]).is_none());
        let (frame, length) = first_frame(&bytes).unwrap();
        assert_eq!((frame.kind, length), (DATA, bytes.len()));
        assert_eq!(first_message(frame.payload), Some((&b"hello"[..], 10)));
        assert_eq!(first_message(&frame.payload[..9]), None);
    }
}
