//! One connection without its socket. Bytes and the time go in, frames come out, and the
//! requests are driven in between.

mod control;
mod receive;
mod send;

use std::sync::Arc;

use tokio::time::Instant;

use super::{
    exchange::Service,
    flood_budget::FloodBudget,
    frame::{
        self, DEFAULT_WINDOW, ErrorCode, SETTINGS_HEADER_TABLE_SIZE,
        SETTINGS_MAX_CONCURRENT_STREAMS, SETTINGS_MAX_HEADER_LIST_SIZE,
    },
    hpack::Decoder,
    output::Output,
    stream::Stream,
};

/// Limits of one connection.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Streams that are open at once.
    pub streams: u32,
    /// The header section of one request, in bytes as the protocol counts them.
    pub header_bytes: u32,
}

pub(super) struct Connection<S> {
    service: Arc<S>,
    bounds: Bounds,
    pub(super) output: Output,
    /// A frame that is not complete yet.
    partial: Vec<u8>,
    phase: Phase,
    decoder: Decoder,
    /// A header section that is not complete yet.
    block: Option<Box<Block>>,
    streams: Vec<Stream>,
    /// The highest stream that the client has opened.
    last_stream: u32,
    /// The streams that this server ended last, newest first. Frames for them may still be on
    /// their way and are ignored.
    ended: [u32; 8],
    /// What this server may still send on the connection.
    send_window: i64,
    /// What it may send on a new stream.
    initial_window: i64,
    /// What the client may still send on the connection.
    receive_window: u32,
    flood_budget: FloodBudget,
    leaving: bool,
    /// The number of answers to our pings.
    pub(super) pongs: u32,
    /// Which stream is served first. It changes, so that no stream always comes last.
    turn: usize,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    Preface,
    /// The client's settings must come first.
    Settings,
    Open,
}

/// A header section that comes in several frames.
struct Block {
    stream: u32,
    end_stream: bool,
    fragment: Vec<u8>,
}

/// An error that ends the connection. The client is sent its code and reason.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("{reason}")]
pub(super) struct Failure {
    pub(super) code: ErrorCode,
    reason: &'static str,
}

const fn failure(code: ErrorCode, reason: &'static str) -> Failure {
    Failure { code, reason }
}

fn protocol(reason: &'static str) -> Failure {
    failure(ErrorCode::Protocol, reason)
}

fn size() -> Failure {
    failure(
        ErrorCode::FrameSize,
        "a frame does not have the size of its kind",
    )
}

impl<S: Service> Connection<S> {
    pub(super) fn new(service: Arc<S>, bounds: Bounds, now: Instant) -> Self {
        let mut output = Output::default();
        // Without a table of header fields an idle connection holds none.
        let settings = [
            (SETTINGS_HEADER_TABLE_SIZE, 0),
            (SETTINGS_MAX_CONCURRENT_STREAMS, bounds.streams),
            (SETTINGS_MAX_HEADER_LIST_SIZE, bounds.header_bytes),
        ];
        frame::put_settings(output.tail(), &settings);
        Self {
            service,
            bounds,
            output,
            partial: Vec::new(),
            phase: Phase::Preface,
            decoder: Decoder::new(bounds.header_bytes as usize),
            block: None,
            streams: Vec::new(),
            last_stream: 0,
            ended: [0; 8],
            send_window: DEFAULT_WINDOW,
            initial_window: DEFAULT_WINDOW,
            receive_window: RECEIVE_WINDOW,
            flood_budget: FloodBudget::new(now),
            leaving: false,
            pongs: 0,
            turn: 0,
        }
    }

    /// Whether the client has sent a request.
    pub(super) fn has_served(&self) -> bool {
        self.last_stream > 0
    }

    /// Sends a PING.
    pub(super) fn ping(&mut self) {
        frame::put_ping(self.output.tail(), 0, PING);
    }

    /// Sends a GOAWAY and accepts no more requests.
    pub(super) fn leave(&mut self) {
        if !std::mem::replace(&mut self.leaving, true) {
            let reason = "the server is stopping";
            let out = self.output.tail();
            frame::put_go_away(out, self.last_stream, ErrorCode::NoError, reason);
        }
    }

    /// Whether no more requests are accepted and all that were have ended.
    pub(super) fn has_left(&self) -> bool {
        self.leaving && self.streams.is_empty()
    }

    /// Sends a GOAWAY with the error, and ends every request.
    pub(super) fn fail(&mut self, failure: Failure) {
        let out = self.output.tail();
        frame::put_go_away(out, self.last_stream, failure.code, failure.reason);
        self.leaving = true;
        self.streams.clear();
    }

    /// Tells every open request that the client has gone silent.
    pub(super) fn lost(&mut self) {
        for stream in &mut self.streams {
            stream.exchange.lost();
        }
    }

    /// The memory of frames and header sections that are not complete, in bytes.
    #[cfg(any(test, fuzzing))]
    pub(super) fn held(&self) -> usize {
        let block = self.block.as_ref().map(|block| block.fragment.capacity());
        self.partial.capacity() + block.unwrap_or_default()
    }

    fn stream(&mut self, id: u32) -> Option<&mut Stream> {
        self.streams.iter_mut().find(|stream| stream.id == id)
    }

    /// Ends one request.
    fn reset(&mut self, id: u32, code: ErrorCode) {
        frame::put_reset(self.output.tail(), id, code);
        self.streams.retain(|stream| stream.id != id);
        self.remember(id);
    }

    fn remember(&mut self, id: u32) {
        self.ended.rotate_right(1);
        self.ended[0] = id;
    }
}

const PING: [u8; 8] = *b"alive? \n";
/// What the client may send on the connection, in bytes. It is the protocol's default.
const RECEIVE_WINDOW: u32 = 65_535;

#[cfg(test)]
mod tests;
