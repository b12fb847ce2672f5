//! What a connection carries, one request each.

use std::{
    collections::VecDeque,
    fmt,
    task::{Context, Poll},
};

use bytes::Bytes;
use tokio::time::Instant;

use super::request::Request;

/// Answers the requests of a connection.
pub(crate) trait Service: fmt::Debug + Send + Sync + 'static {
    /// Called on the connection's task; it must not block.
    fn open(&self, request: Request, now: Instant) -> Box<dyn Exchange>;
}

/// A request and its response, driven by the connection's task. Dropping it is the end,
/// whether it was complete or not.
pub(crate) trait Exchange: Send {
    /// The next bytes of the request's body.
    fn receive(&mut self, data: &[u8], now: Instant);

    /// The request's body is complete.
    fn finish(&mut self);

    /// The bytes of the body that are done with, since the last call. The client may send as
    /// many more; until then they count against its window.
    fn released(&mut self) -> usize;

    /// The next part of the response. Called when all earlier ones are on their way.
    fn poll(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<Part>;

    /// Called instead while a part still waits for the client: what needs no sending may be
    /// done, and what was due is taken note of.
    fn rest(&mut self, _now: Instant) {}

    /// Asked while a part waits for a client that takes nothing: whether the end is not to wait
    /// with it. How it ends the client then cannot be told.
    fn is_over(&self, _now: Instant) -> bool {
        false
    }

    /// When to poll, or to let rest, although nothing has happened.
    fn deadline(&self) -> Option<Instant>;
}

/// A part of a response.
#[derive(Debug)]
pub(crate) enum Part {
    /// Header fields, encoded. The first part, unless that is the end.
    Head(Vec<u8>),
    /// More of the body.
    Body(Chunks),
    /// Header fields, encoded, that end the response. Empty: it ends without any.
    End(Vec<u8>),
}

/// Bytes in pieces, which may be shared with other streams. Most often it is one piece.
#[derive(Debug, Default)]
pub(crate) struct Chunks {
    /// Empty if there is nothing.
    first: Bytes,
    others: VecDeque<Bytes>,
}

impl Chunks {
    /// An empty one is left out: there would be nothing to take.
    pub(crate) fn push(&mut self, chunk: Bytes) {
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
    pub(crate) fn take(&mut self, limit: usize) -> Option<Bytes> {
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
