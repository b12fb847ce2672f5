//! The bytes that wait for the socket.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes};
use tokio::io::AsyncWrite;

#[derive(Debug, Default)]
pub(super) struct Output {
    queue: VecDeque<Bytes>,
    queued: usize,
    /// Small pieces, collected. They come after the queue.
    tail: Vec<u8>,
}

impl Output {
    /// Returns the buffer for small pieces, for the caller to append to.
    pub(super) fn tail(&mut self) -> &mut Vec<u8> {
        &mut self.tail
    }

    /// Appends bytes that other connections may share. Small ones are copied, others are kept.
    pub(super) fn put(&mut self, bytes: Bytes) {
        if bytes.len() < COPIED {
            self.tail.extend_from_slice(&bytes);
            return;
        }
        self.seal();
        self.queued += bytes.len();
        self.queue.push_back(bytes);
    }

    /// The number of bytes that wait.
    pub(super) fn len(&self) -> usize {
        self.queued + self.tail.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Lends a buffer for small pieces. [`Output::give_back`] returns it once nothing waits, so
    /// that an idle connection holds none.
    pub(super) fn lend(&mut self, memory: Vec<u8>) {
        if self.tail.capacity() == 0 {
            self.tail = memory;
        }
    }

    pub(super) fn give_back(&mut self) -> Option<Vec<u8>> {
        if !self.is_empty() {
            self.tail.shrink_to_fit();
            return None;
        }
        self.queue = VecDeque::new();
        Some(std::mem::take(&mut self.tail))
    }

    /// Writes until nothing waits or the socket takes no more. Sets `written` if it took anything.
    pub(super) fn poll_write<IO: AsyncWrite + Unpin>(
        &mut self,
        io: &mut IO,
        cx: &mut Context<'_>,
        written: &mut bool,
    ) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            let io = Pin::new(&mut *io);
            let count = if self.queue.is_empty() {
                ready!(io.poll_write(cx, &self.tail))?
            } else {
                let mut slices = [IoSlice::new(&[]); VECTOR];
                let filled = slices.iter_mut().zip(self.chunks());
                let filled = filled
                    .map(|(slice, chunk)| *slice = IoSlice::new(chunk))
                    .count();
                ready!(io.poll_write_vectored(cx, &slices[..filled]))?
            };
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            *written = true;
            self.advance(count);
        }
        Pin::new(io).poll_flush(cx)
    }

    /// The pieces that wait, in order.
    pub(super) fn chunks(&self) -> impl Iterator<Item = &[u8]> {
        let tail = (!self.tail.is_empty()).then_some(&*self.tail);
        self.queue.iter().map(AsRef::as_ref).chain(tail)
    }

    fn advance(&mut self, mut count: usize) {
        if self.queue.is_empty() && count == self.tail.len() {
            self.tail.clear();
            return;
        }
        self.seal();
        self.queued -= count;
        while let Some(first) = self.queue.front_mut() {
            if first.len() > count {
                first.advance(count);
                return;
            }
            count -= first.len();
            self.queue.pop_front();
        }
    }

    /// Moves the small pieces to the end of the queue.
    fn seal(&mut self) {
        if !self.tail.is_empty() {
            self.queued += self.tail.len();
            self.queue.push_back(std::mem::take(&mut self.tail).into());
        }
    }
}

/// Pieces shorter than this are copied, in bytes. A copy costs less than an entry in the queue.
const COPIED: usize = 2048;
/// The number of pieces in one write.
const VECTOR: usize = 16;
