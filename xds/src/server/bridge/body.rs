//! The body of a request, between the connection's task and the service that reads it.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http_body::{Body, Frame};
use tonic::Status;

/// Data that has come and is not read yet. The stream's flow-control window bounds it.
#[derive(Debug, Default)]
pub(super) struct Inbound(Mutex<Queue>);

#[derive(Debug, Default)]
struct Queue {
    chunks: VecDeque<Bytes>,
    end: Option<End>,
    /// Bytes that have been read or dropped.
    released: usize,
    /// Nothing reads the body any more.
    unread: bool,
    reader: Option<Waker>,
    connection: Option<Waker>,
}

#[derive(Clone, Copy, Debug)]
enum End {
    Complete,
    Abandoned,
}

impl Inbound {
    pub(super) fn push(&self, data: &[u8]) {
        let mut queue = self.queue();
        if queue.unread {
            queue.released += data.len();
            return;
        }
        queue.chunks.push_back(Bytes::copy_from_slice(data));
        wake(queue);
    }

    pub(super) fn finish(&self) {
        self.end(End::Complete);
    }

    pub(super) fn abandon(&self) {
        self.end(End::Abandoned);
    }

    pub(super) fn released(&self) -> usize {
        std::mem::take(&mut self.queue().released)
    }

    /// Registers the connection's waker. It is woken when bytes can be returned to the window.
    pub(super) fn register(&self, waker: &Waker) {
        let connection = &mut self.queue().connection;
        match connection {
            Some(held) => held.clone_from(waker),
            None => *connection = Some(waker.clone()),
        }
    }

    fn end(&self, end: End) {
        let mut queue = self.queue();
        queue.end.get_or_insert(end);
        wake(queue);
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wake(mut queue: MutexGuard<'_, Queue>) {
    let reader = queue.reader.take();
    drop(queue);
    if let Some(reader) = reader {
        reader.wake();
    }
}

/// The reading end.
#[derive(Debug)]
pub(super) struct RequestBody(Arc<Inbound>);

impl RequestBody {
    pub(super) const fn new(inbound: Arc<Inbound>) -> Self {
        Self(inbound)
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let mut queue = self.0.queue();
        if let Some(chunk) = queue.chunks.pop_front() {
            queue.released += chunk.len();
            if queue.released >= WORTH_WAKING
                && let Some(connection) = &queue.connection
            {
                connection.wake_by_ref();
            }
            return Poll::Ready(Some(Ok(Frame::data(chunk))));
        }
        match queue.end {
            Some(End::Complete) => Poll::Ready(None),
            Some(End::Abandoned) => {
                let status = Status::cancelled("the client has gone, or ended the request");
                Poll::Ready(Some(Err(status)))
            }
            None => {
                queue.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        let mut queue = self.0.queue();
        queue.unread = true;
        let chunks = std::mem::take(&mut queue.chunks);
        queue.released += chunks.iter().map(Bytes::len).sum::<usize>();
    }
}

/// In bytes. Smaller amounts are returned to the window when something else is written. A client does
/// not wait for them, since its window is larger.
const WORTH_WAKING: usize = 16_384;
