//! Responses, framed as far as the windows and the socket allow.

use std::task::{Context, Poll};

use tokio::time::Instant;

use super::Connection;
use crate::http2::{
    exchange::Service,
    frame::{self, ErrorCode},
    stream::HIGH_WATER,
};

impl<S: Service> Connection<S> {
    /// Drives every request until it waits for the client or for its service.
    pub(in crate::http2) fn drive(&mut self, cx: &mut Context<'_>, now: Instant) {
        let count = self.streams.len();
        let mut done = false;
        for place in 0..count {
            let at = (self.turn + place) % count;
            self.drive_stream(at, cx, now);
            done |= self.streams[at].done;
        }
        if self.is_full() {
            self.turn = self.turn.wrapping_add(1);
        }
        if done {
            self.sweep();
        }
    }

    /// Whether so much waits for the socket that nothing is framed and nothing read.
    pub(in crate::http2) fn is_full(&self) -> bool {
        self.output.len() >= HIGH_WATER
    }

    /// When a request must be driven although nothing has happened.
    pub(in crate::http2) fn deadline(&self) -> Option<Instant> {
        let deadlines = self.streams.iter().map(|stream| stream.exchange.deadline());
        deadlines.flatten().min()
    }

    /// Resets the streams that are over while their client reads nothing. Returns whether there
    /// were any.
    pub(in crate::http2) fn abandon(&mut self, now: Instant) -> bool {
        let before = self.streams.len();
        while let Some(over) = self
            .streams
            .iter()
            .find(|stream| !stream.is_writable(&self.output) && stream.exchange.is_over(now))
        {
            let id = over.id;
            self.reset(id, ErrorCode::Cancel);
        }
        self.streams.len() < before
    }

    fn drive_stream(&mut self, at: usize, cx: &mut Context<'_>, now: Instant) {
        let stream = &mut self.streams[at];
        loop {
            for _ in 0..stream.flush(&mut self.output, &mut self.send_window) {
                self.flood_budget.earn();
            }
            if stream.done {
                return;
            }
            if !stream.is_writable(&self.output) {
                stream.exchange.rest(now);
                break;
            }
            match stream.exchange.poll(cx, now) {
                Poll::Ready(part) => stream.take(part, &mut self.output),
                Poll::Pending => break,
            }
        }
        stream.credit(0, &mut self.output);
    }

    /// Removes the streams that are done.
    fn sweep(&mut self) {
        for at in (0..self.streams.len()).rev() {
            if !self.streams[at].done {
                continue;
            }
            let stream = self.streams.swap_remove(at);
            if !stream.client_done {
                // The client may stop sending: the rest of the request is not read.
                frame::put_reset(self.output.tail(), stream.id, ErrorCode::NoError);
                self.remember(stream.id);
            }
        }
        if self.streams.is_empty() {
            self.streams = Vec::new();
        }
    }
}
