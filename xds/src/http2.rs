//! A server's end of HTTP/2 connections, RFC 9113, as far as gRPC needs it: no push, no
//! priorities, no table for what is sent.
//!
//! One future drives a connection with all its requests; there is no task for a stream, and
//! no buffer for a connection that is idle. Bytes are read into memory of the thread and
//! looked at in place, responses are framed when the socket has room for them.

mod calm;
mod connection;
mod driver;
mod exchange;
mod frame;
mod hpack;
mod output;
mod request;
mod stream;

pub(crate) use self::{
    connection::Bounds,
    driver::{Driver, Patience, Stop},
    exchange::{Chunks, Exchange, Part, Service},
    request::Request,
};

/// Encodes the fields of a header section.
#[derive(Debug, Default)]
pub(crate) struct Fields(Vec<u8>);

impl Fields {
    /// The section of a response.
    pub(crate) fn response(status: u16) -> Self {
        let mut block = Vec::with_capacity(64);
        hpack::status(&mut block, status);
        Self(block)
    }

    /// The section after a response's body.
    pub(crate) fn trailers() -> Self {
        Self::default()
    }

    /// `name` is in lower case.
    #[must_use]
    pub(crate) fn with(mut self, name: &str, value: &[u8]) -> Self {
        hpack::field(&mut self.0, name, value);
        self
    }

    pub(crate) fn encoded(self) -> Vec<u8> {
        self.0
    }
}
