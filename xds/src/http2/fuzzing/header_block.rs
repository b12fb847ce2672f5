//! Header blocks of one connection: decoded here and by the reference, and encoded again.

use bytes::Bytes;
use h2::{
    frame::{BytesStr, Frame, Headers, Pseudo},
    proto::Error,
};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::{client::frames, reference::Reference};
use crate::http2::{
    frame::{END_HEADERS, HEADER_LENGTH, Kind, put_header},
    hpack::{self, Decoder, HpackError},
};

/// Each block stands behind its length in one byte. In place of a length, [`STOP`] says that
/// the client confirms the table of size 0, and [`RESIZE`] that the reference's encoder, which
/// encodes what was decoded, gets a table of another size.
///
/// # Panics
/// If this crate and the reference disagree about a block.
pub(crate) fn check(mut bytes: &[u8]) {
    let mut pair = Pair::new();
    while let Some((&length, rest)) = bytes.split_first() {
        bytes = rest;
        match length {
            STOP => pair.stop(),
            RESIZE => pair.resize(),
            length => {
                let (block, rest) = rest.split_at(rest.len().min(usize::from(length)));
                bytes = rest;
                if pair.block(block).is_err() {
                    return;
                }
            }
        }
    }
}

/// Two decoders that see the same blocks, and an encoder and a decoder for the way back.
struct Pair {
    ours: Decoder,
    /// As `ours`, with a lower limit for the list of fields.
    strict: Option<Decoder>,
    /// `None` once the two can no longer agree.
    theirs: Option<Reference>,
    encoder: Reference,
    decoder: Decoder,
    table_sizes: std::iter::Cycle<std::array::IntoIter<usize, 4>>,
    stream: u32,
}

type Fields = Vec<(Vec<u8>, Vec<u8>)>;

impl Pair {
    fn new() -> Self {
        Self {
            ours: Decoder::new(1 << 20),
            strict: Some(Decoder::new(STRICT)),
            theirs: Some(Reference::new()),
            encoder: Reference::new(),
            decoder: Decoder::new(1 << 20),
            table_sizes: [0, 100, 4096, 300].into_iter().cycle(),
            stream: 1,
        }
    }

    fn stop(&mut self) {
        self.ours.stop_indexing();
        assert_eq!(self.ours.table_size(), 0);
        if let Some(strict) = &mut self.strict {
            strict.stop_indexing();
        }
        // The reference keeps what it has until the client says that its table is smaller.
        self.theirs = None;
    }

    fn resize(&mut self) {
        if let Some(size) = self.table_sizes.next() {
            self.encoder.set_table_size(size);
        }
    }

    fn block(&mut self, block: &[u8]) -> Result<(), HpackError> {
        let ours = decode(&mut self.ours, block);
        assert!(self.ours.table_size() <= TABLE);
        self.check_strict(block, ours.as_ref().ok());
        let request = ours.as_ref().ok().and_then(expressed);
        self.check_theirs(block, ours.is_ok(), request.as_ref());
        if let Some((pseudo, fields)) = request {
            self.check_return(pseudo, fields);
        }
        check_encoder(&ours?);
        Ok(())
    }

    /// A list that is too long is an error, and nothing else is.
    fn check_strict(&mut self, block: &[u8], fields: Option<&Fields>) {
        let Some(strict) = &mut self.strict else {
            return;
        };
        let size = |(name, value): &(Vec<u8>, Vec<u8>)| name.len() + value.len() + 32;
        let fits = |fields: &&Fields| fields.iter().map(size).sum::<usize>() <= STRICT;
        let decoded = decode(strict, block).ok();
        assert_eq!(decoded.as_ref(), fields.filter(fits));
        if decoded.is_none() {
            self.strict = None;
        }
    }

    fn check_theirs(&mut self, block: &[u8], decodes: bool, request: Option<&Request>) {
        let Some(theirs) = &mut self.theirs else {
            return;
        };
        let read = theirs.read(&headers(self.stream, block)).pop();
        self.stream += 2;
        match read {
            Some(Ok(Frame::Headers(headers))) => {
                assert!(decodes, "the reference decodes it");
                let theirs = headers.into_parts();
                assert_eq!(Some(&theirs), request, "other fields");
            }
            // It has decoded the block, and found that it makes no request.
            Some(Err(Error::Reset(..))) => {
                assert!(decodes, "the reference decodes it");
                assert_eq!(None, request, "the reference finds it malformed");
            }
            // It has found something that it cannot express, and does not know the rest.
            Some(Err(_)) => {
                assert_eq!(None, request, "the reference does not decode it");
                self.theirs = None;
            }
            other => panic!("no header block: {other:?}"),
        }
    }

    /// What the reference encodes, with a table and Huffman codes, decodes here.
    fn check_return(&mut self, pseudo: Pseudo, fields: HeaderMap) {
        let expected = listed(&pseudo, &fields);
        let frame = Headers::new(1.into(), pseudo, fields);
        let written = self.encoder.write(frame.into());
        let mut block = Vec::new();
        for (_, payload) in frames(&written) {
            block.extend(payload);
        }
        let decoded = decode(&mut self.decoder, &block).expect("what the reference encodes");
        assert_eq!(decoded, expected);
    }
}

/// What this crate encodes decodes here and in the reference.
fn check_encoder(fields: &Fields) {
    let mut block = Vec::new();
    let text = |(name, value): &(Vec<u8>, Vec<u8>)| {
        let name = String::from_utf8(name.clone()).ok()?;
        Some((name, value.clone()))
    };
    let fields: Vec<_> = fields.iter().filter_map(text).collect();
    for (name, value) in &fields {
        hpack::field(&mut block, name, value);
    }
    let bytes = |(name, value): (String, Vec<u8>)| (name.into_bytes(), value);
    let expected: Fields = fields.into_iter().map(bytes).collect();
    let decoded = decode(&mut Decoder::new(1 << 20), &block);
    assert_eq!(decoded.as_ref(), Ok(&expected));
    if let Some(request) = expressed(&expected)
        && block.len() <= crate::http2::frame::MAX_PAYLOAD
    {
        match Reference::new().read(&headers(1, &block)).pop() {
            Some(Ok(Frame::Headers(headers))) => assert_eq!(headers.into_parts(), request),
            other => panic!("the reference does not read it: {other:?}"),
        }
    }
}

fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<Fields, HpackError> {
    let mut fields = Fields::new();
    decoder.decode(block, |name, value| {
        fields.push((name.to_vec(), value.to_vec()));
    })?;
    Ok(fields)
}

/// A header section in one frame.
fn headers(stream: u32, block: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(HEADER_LENGTH + block.len());
    put_header(&mut frame, block.len(), Kind::Headers, END_HEADERS, stream);
    frame.extend_from_slice(block);
    frame
}

type Request = (Pseudo, HeaderMap);

/// The fields in the reference's types; `None` if it calls them malformed, or cannot express
/// them.
fn expressed(fields: &Fields) -> Option<Request> {
    let mut pseudo = Pseudo::default();
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        if let Some(name) = name.strip_prefix(b":") {
            if !map.is_empty() {
                return None;
            }
            set(&mut pseudo, name, value)?;
            continue;
        }
        let name = HeaderName::from_lowercase(name).ok()?;
        let value = HeaderValue::from_bytes(value).ok()?;
        match name.as_str() {
            "connection" | "transfer-encoding" | "upgrade" | "keep-alive" | "proxy-connection" => {
                return None;
            }
            "te" if value != "trailers" => return None,
            _ => map.append(name, value),
        };
    }
    Some((pseudo, map))
}

/// Fails if the field was set before.
fn set(pseudo: &mut Pseudo, name: &[u8], value: &[u8]) -> Option<()> {
    let text = || BytesStr::try_from(Bytes::copy_from_slice(value)).ok();
    match name {
        b"method" => {
            let method = http::Method::from_bytes(value).ok()?;
            pseudo.method.replace(method).is_none()
        }
        b"status" => {
            let status = http::StatusCode::from_bytes(value).ok()?;
            pseudo.status.replace(status).is_none()
        }
        b"scheme" => pseudo.scheme.replace(text()?).is_none(),
        b"authority" => pseudo.authority.replace(text()?).is_none(),
        b"path" => pseudo.path.replace(text()?).is_none(),
        b"protocol" => {
            let protocol = h2::ext::Protocol::from(str::from_utf8(value).ok()?);
            pseudo.protocol.replace(protocol).is_none()
        }
        _ => false,
    }
    .then_some(())
}

/// The fields in the order in which the reference encodes them.
fn listed(pseudo: &Pseudo, fields: &HeaderMap) -> Fields {
    let status = pseudo.status.as_ref();
    let pseudo = [
        (":method", pseudo.method.as_ref().map(|m| m.as_str())),
        (":scheme", pseudo.scheme.as_deref()),
        (":authority", pseudo.authority.as_deref()),
        (":path", pseudo.path.as_deref()),
        (":protocol", pseudo.protocol.as_ref().map(|p| p.as_str())),
        (":status", status.map(|s| s.as_str())),
    ];
    let pseudo = pseudo
        .into_iter()
        .filter_map(|(name, value)| Some((name.into(), Bytes::copy_from_slice(value?.as_bytes()))));
    let pseudo = pseudo.map(|(name, value): (Vec<u8>, Bytes)| (name, value.to_vec()));
    let fields = fields.iter();
    let fields = fields.map(|(name, value)| (name.as_str().into(), value.as_bytes().to_vec()));
    pseudo.chain(fields).collect()
}

/// In place of a length: the client confirms the table of size 0.
const STOP: u8 = 255;
/// In place of a length: the reference's encoder changes its table.
const RESIZE: u8 = 254;
/// The size of a dynamic table, in bytes.
const TABLE: usize = 4096;
/// The size of a list of fields, in bytes.
const STRICT: usize = 300;
