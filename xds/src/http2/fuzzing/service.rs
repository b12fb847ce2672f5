//! Requests whose path says how they are answered.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
    vec,
};

use bytes::Bytes;
use tokio::time::Instant;

use crate::http2::{Chunks, Exchange, Fields, Part, Request, Service};

/// Answers by the path of a request. A path that is not in [`PATHS`] is answered at once.
#[derive(Clone, Debug, Default)]
pub(super) struct Scripted {
    open: Arc<AtomicUsize>,
}

impl Scripted {
    /// The number of requests that are neither answered nor ended.
    pub(super) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }
}

impl Service for Scripted {
    fn open(&self, request: Request, now: Instant) -> Box<dyn Exchange> {
        self.open.fetch_add(1, Ordering::Relaxed);
        let (behaviour, parts) = match &*request.path {
            "/echo" => (Behaviour::Echo, Vec::new()),
            "/stream" => (Behaviour::Stream, vec![head()]),
            "/hold" => (Behaviour::Hold, vec![head()]),
            "/large" => (Behaviour::Deaf, large()),
            _ => (Behaviour::Deaf, vec![Part::End(trailers())]),
        };
        Box::new(Scene {
            behaviour,
            parts: parts.into_iter(),
            body: Vec::new(),
            received: 0,
            released: 0,
            finished: false,
            over: now + PATIENCE,
            open: Arc::clone(&self.open),
        })
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Behaviour {
    /// The whole body comes back once it is complete.
    Echo,
    /// Each piece comes back as it comes.
    Stream,
    /// Nothing is released before the body is complete.
    Hold,
    /// The body is not looked at.
    Deaf,
}

struct Scene {
    behaviour: Behaviour,
    /// Come before anything else.
    parts: vec::IntoIter<Part>,
    body: Vec<u8>,
    received: usize,
    released: usize,
    finished: bool,
    over: Instant,
    open: Arc<AtomicUsize>,
}

impl Exchange for Scene {
    fn receive(&mut self, data: &[u8], _now: Instant) {
        assert!(!self.finished, "data after the end");
        self.received += data.len();
        match self.behaviour {
            Behaviour::Echo | Behaviour::Stream => {
                self.body.extend_from_slice(data);
                self.released += data.len();
            }
            Behaviour::Hold => assert!(self.received <= WINDOW, "more than the window"),
            Behaviour::Deaf => self.released += data.len(),
        }
    }

    fn finish(&mut self) {
        assert!(!self.finished, "a second end");
        self.finished = true;
        if self.behaviour == Behaviour::Hold {
            self.released = self.received;
        }
        if self.behaviour == Behaviour::Echo {
            let body = std::mem::take(&mut self.body);
            let parts = [head(), Part::Body(Bytes::from(body).into())];
            self.parts = parts.into_iter().collect::<Vec<_>>().into_iter();
        }
    }

    fn released(&mut self) -> usize {
        std::mem::take(&mut self.released)
    }

    fn poll(&mut self, _cx: &mut Context<'_>, _now: Instant) -> Poll<Part> {
        if let Some(part) = self.parts.next() {
            return Poll::Ready(part);
        }
        if !self.body.is_empty() && self.behaviour == Behaviour::Stream {
            let body = std::mem::take(&mut self.body);
            return Poll::Ready(Part::Body(Bytes::from(body).into()));
        }
        if self.finished {
            return Poll::Ready(Part::End(match self.behaviour {
                Behaviour::Echo | Behaviour::Hold => Vec::new(),
                Behaviour::Stream | Behaviour::Deaf => trailers(),
            }));
        }
        Poll::Pending
    }

    fn is_over(&self, now: Instant) -> bool {
        now >= self.over
    }

    fn deadline(&self) -> Option<Instant> {
        Some(self.over)
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

fn head() -> Part {
    let fields = Fields::response(200).with("content-type", b"application/grpc");
    Part::Head(fields.encoded())
}

fn trailers() -> Vec<u8> {
    Fields::trailers().with("grpc-status", b"0").encoded()
}

/// A body of several pieces, larger than a frame and than the first windows, and an end.
fn large() -> Vec<Part> {
    let mut chunks = Chunks::default();
    for length in [100, 3_000, 0, 40_000, 1, 70_000] {
        chunks.push(Bytes::from(vec![b'x'; length]));
    }
    vec![head(), Part::Body(chunks), Part::End(Vec::new())]
}

/// One path for each way of answering.
pub(super) const PATHS: [&str; 5] = ["/echo", "/stream", "/hold", "/large", "/now"];

/// The window of a stream that releases nothing, in bytes.
const WINDOW: usize = 65_535;
/// How long a request waits for its client.
const PATIENCE: Duration = Duration::from_secs(60);
