//! gRPC over HTTP/2: framed messages in the body, the status in the trailers.
//! <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>

use std::fmt::Write as _;

use tokio::time::Instant;
use tonic::{Code, Status};

use crate::http2::{Fields, Request};

/// Splits a body into messages.
#[derive(Debug, Default)]
pub(super) struct Deframer {
    /// An incomplete message, and when its first bytes came.
    partial: Option<Box<(Instant, Vec<u8>)>>,
}

impl Deframer {
    /// Calls `each` with every message that `data` completes.
    ///
    /// # Errors
    /// A status that ends the stream, of this function or of `each`.
    pub(super) fn push(
        &mut self,
        mut data: &[u8],
        limit: usize,
        now: Instant,
        mut each: impl FnMut(&[u8]) -> Result<(), Status>,
    ) -> Result<(), Status> {
        if let Some(mut partial) = self.partial.take() {
            let (_, message) = &mut *partial;
            if !fill(message, PREFIX, &mut data)
                || !fill(message, PREFIX + length(message, limit)?, &mut data)
            {
                self.partial = Some(partial);
                return Ok(());
            }
            each(&message[PREFIX..])?;
        }
        while !data.is_empty() {
            let complete = if data.len() < PREFIX {
                None
            } else {
                data.split_at_checked(PREFIX + length(data, limit)?)
            };
            let Some((message, rest)) = complete else {
                self.partial = Some(Box::new((now, data.to_vec())));
                return Ok(());
            };
            each(&message[PREFIX..])?;
            data = rest;
        }
        Ok(())
    }

    /// When the first bytes of the incomplete message came.
    pub(super) fn incomplete_since(&self) -> Option<Instant> {
        self.partial.as_deref().map(|(since, _)| *since)
    }
}

/// Moves bytes from `data` until `message` has `length` of them. Returns whether it has.
fn fill(message: &mut Vec<u8>, length: usize, data: &mut &[u8]) -> bool {
    let missing = length.saturating_sub(message.len());
    let (more, rest) = data.split_at(missing.min(data.len()));
    message.extend_from_slice(more);
    *data = rest;
    message.len() >= length
}

/// The length of the message, from the prefix of `framed`.
fn length(framed: &[u8], limit: usize) -> Result<usize, Status> {
    let Some(&[compressed, length @ ..]) = framed.first_chunk::<PREFIX>() else {
        return Ok(0);
    };
    if compressed != 0 {
        return Err(Status::unimplemented("compressed messages are not taken"));
    }
    let length = u32::from_be_bytes(length) as usize;
    if length > limit {
        return Err(Status::resource_exhausted(format!(
            "a message of {length} bytes is too long: {limit} are taken"
        )));
    }
    Ok(length)
}

/// The header fields of a response.
pub(super) fn head() -> Vec<u8> {
    Fields::response(200)
        .with("content-type", b"application/grpc")
        .encoded()
}

/// The trailer fields of a response. If `alone`, they are the whole response.
pub(super) fn end(status: &Status, alone: bool) -> Vec<u8> {
    let fields = if alone {
        Fields::response(200).with("content-type", b"application/grpc")
    } else {
        Fields::trailers()
    };
    let code = i32::from(status.code()).to_string();
    let fields = fields.with("grpc-status", code.as_bytes());
    if status.message().is_empty() {
        return fields.encoded();
    }
    fields
        .with("grpc-message", escaped(status.message()).as_bytes())
        .encoded()
}

pub(super) fn ok() -> Status {
    Status::new(Code::Ok, "")
}

/// The HTTP status for a request that is not gRPC.
pub(super) fn http_error(request: &Request) -> Option<u16> {
    if request.method != "POST" {
        return Some(405);
    }
    let content_type = request.field("content-type").unwrap_or_default();
    (!content_type.starts_with(b"application/grpc")).then_some(415)
}

/// Percent-encodes what an HTTP/2 field may not hold, and cuts the message to fit a header.
fn escaped(message: &str) -> String {
    let mut escaped = String::with_capacity(message.len());
    for byte in message.bytes().take(MAX_MESSAGE) {
        if matches!(byte, b' '..=b'~') && byte != b'%' {
            escaped.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

/// The size of a message's prefix in bytes: the compression flag and the length.
pub(super) const PREFIX: usize = 5;
/// In bytes.
const MAX_MESSAGE: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(messages: &[&[u8]]) -> Vec<u8> {
        let mut body = Vec::new();
        for message in messages {
            body.push(0);
            body.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
            body.extend_from_slice(message);
        }
        body
    }

    #[test]
    fn messages_are_complete_however_the_body_is_split() {
        let body = framed(&[b"first", b"", b"the third"]);
        for size in 1..=body.len() {
            let mut deframer = Deframer::default();
            let mut messages = Vec::new();
            for data in body.chunks(size) {
                deframer
                    .push(data, 9, Instant::now(), |message| {
                        messages.push(message.to_vec());
                        Ok(())
                    })
                    .unwrap();
            }
            assert_eq!(messages, [&b"first"[..], b"", b"the third"], "by {size}");
            assert!(deframer.incomplete_since().is_none());
        }
    }

    #[test]
    fn a_message_that_is_too_long_is_refused_by_its_prefix() {
        let body = framed(&[b"too long"]);
        let refused = |data| {
            let mut deframer = Deframer::default();
            deframer
                .push(data, 7, Instant::now(), |_| Ok(()))
                .unwrap_err()
        };
        assert_eq!(refused(&body).code(), Code::ResourceExhausted);
        assert_eq!(refused(&body[..PREFIX]).code(), Code::ResourceExhausted);
    }

    #[test]
    fn a_compressed_message_is_refused() {
        let mut body = framed(&[b"a"]);
        body[0] = 1;
        let error = Deframer::default().push(&body, 7, Instant::now(), |_| Ok(()));
        assert_eq!(error.unwrap_err().code(), Code::Unimplemented);
    }

    #[test]
    fn a_status_message_is_percent_encoded() {
        assert_eq!(escaped("50 % ä\n"), "50 %25 %C3%A4%0A");
    }
}
