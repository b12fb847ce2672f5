//! The server side of HTTP/2, RFC 9113, as far as gRPC needs it. It has no push, no priorities,
//! and no compression table for the header fields that it sends.
//!
//! One future drives a connection with all its streams. A stream has no task of its own, and an
//! idle connection holds no buffer: bytes are read into memory that the connections of a thread
//! share, and are parsed in place. Responses are framed when the socket has room for them.

mod connection;
mod driver;
mod exchange;
mod flood_budget;
pub(crate) mod foreign;
mod frame;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod hpack;
mod output;
mod request;
mod stream;

pub(crate) use self::driver::{Driver, Stop};
pub use self::{
    connection::Bounds,
    driver::Timeouts,
    exchange::{Chunks, Exchange, Part, Service},
    request::Request,
};

/// A header section, encoded field by field.
#[derive(Debug, Default)]
pub(crate) struct Fields(Vec<u8>);

impl Fields {
    /// The fields that begin a response.
    pub(crate) fn response(status: u16) -> Self {
        let mut block = Vec::with_capacity(64);
        hpack::status(&mut block, status);
        Self(block)
    }

    /// The fields that end a response.
    pub(crate) fn trailers() -> Self {
        Self::default()
    }

    /// Adds a field. `name` must be in lower case.
    #[must_use]
    pub(crate) fn with(mut self, name: &str, value: &[u8]) -> Self {
        hpack::field(&mut self.0, name, value);
        self
    }

    pub(crate) fn encoded(self) -> Vec<u8> {
        self.0
    }
}
