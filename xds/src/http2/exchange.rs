//! The interface between a connection and the services behind it.

use std::{
    collections::VecDeque,
    fmt,
    task::{Context, Poll},
};

use bytes::Bytes;
use tokio::time::Instant;

use super::request::Request;

/// Answers the requests of a connection.
pub trait Service: fmt::Debug + Send + Sync + 'static {
    /// Accepts a request. It is called on the connection's task and must not block.
    fn open(&self, request: Request, now: Instant) -> Box<dyn Exchange>;
}

/// One request and its response, driven by the connection's task. It is dropped when the stream
/// ends, complete or not.
pub trait Exchange: Send {
    /// Takes the next bytes of the request's body.
    fn receive(&mut self, data: &[u8], now: Instant);

    /// Learns that the request's body is complete.
    fn finish(&mut self);

    /// Returns how many bytes of the body were processed since the last call. The client may send
    /// as many more; until then they count against its flow-control window.
    fn released(&mut self) -> usize;

    /// Returns the next part of the response. Called once all earlier parts are framed.
    fn poll(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<Part>;

    /// Called instead of [`Exchange::poll`] while a part still waits for the client. It does what
    /// needs no sending, such as acting on a deadline.
    fn rest(&mut self, _now: Instant) {}

    /// Called while a part waits for a client that reads nothing. Returns whether the stream is
    /// to be reset at once; the client then learns no status.
    fn is_over(&self, _now: Instant) -> bool {
        false
    }

    /// Called before it is dropped, if that is because the client has gone silent: nobody knows
    /// whether the client still runs. A connection that the client closes makes no such call.
    fn lost(&mut self) {}

    /// When to call [`Exchange::poll`] or [`Exchange::rest`] although nothing has happened.
    fn deadline(&self) -> Option<Instant>;
}

/// A part of a response.
#[derive(Debug)]
pub enum Part {
    /// Encoded header fields that begin the response.
    Head(Vec<u8>),
    /// More of the body.
    Body(Chunks),
    /// Encoded header fields that end the response; empty if there are none. A response without
    /// a body is this part alone.
    End(Vec<u8>),
}

/// Bytes in pieces, which may be shared with other streams. Most often there is one piece.
#[derive(Debug, Default)]
pub struct Chunks {
    /// Empty if there is nothing.
    first: Bytes,
    others: VecDeque<Bytes>,
}

impl Chunks {
    /// Appends a piece, unless it is empty.
    pub fn push(&mut self, chunk: Bytes) {
        if self.first.is_empty() {
            self.first = chunk;
        } else if !chunk.is_empty() {
            self.others.push_back(chunk);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_empty()
    }

    /// Takes the first bytes, at most `limit`.
    pub fn take(&mut self, limit: usize) -> Option<Bytes> {
        if self.first.is_empty() {
            return None;
        }
        if self.first.len() > limit {
            return Some(self.first.split_to(limit));
        }
        let next = self.others.pop_front().unwrap_or_default();
        if self.others.is_empty() {
            self.others = VecDeque::new();
        }
        Some(std::mem::replace(&mut self.first, next))
    }

    /// The number of bytes, counted no further than `limit`.
    pub(super) fn length(&self, limit: usize) -> usize {
        let mut length = self.first.len();
        for chunk in &self.others {
            if length >= limit {
                break;
            }
            length += chunk.len();
        }
        length.min(limit)
    }
}

impl From<Bytes> for Chunks {
    fn from(first: Bytes) -> Self {
        Self {
            first,
            others: VecDeque::new(),
        }
    }
}
