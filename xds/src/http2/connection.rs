//! One connection without its socket: bytes and time go in, frames come out, and the requests
//! are driven in between.

mod control;
mod receive;
mod send;

use std::sync::Arc;

use tokio::time::Instant;

use super::{
    calm::Calm,
    exchange::Service,
    frame::{
        self, DEFAULT_WINDOW, ErrorCode, SETTINGS_HEADER_TABLE_SIZE,
        SETTINGS_MAX_CONCURRENT_STREAMS, SETTINGS_MAX_HEADER_LIST_SIZE,
    },
    hpack::Decoder,
    output::Output,
    stream::Stream,
};

/// What one client may cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) streams: u32,
    /// Of the header section of one request, in bytes as the protocol counts them.
    pub(crate) header_bytes: u32,
}

pub(super) struct Connection<S> {
    service: Arc<S>,
    bounds: Bounds,
    pub(super) output: Output,
    /// The beginning of a frame whose end has not come yet.
    partial: Vec<u8>,
    phase: Phase,
    decoder: Decoder,
    /// A header section whose end has not come yet.
    block: Option<Box<Block>>,
    streams: Vec<Stream>,
    /// The highest stream that the client has opened.
    last_stream: u32,
    /// Streams that were ended by us, the newest first: what comes for them crossed the end.
    ended: [u32; 8],
    /// What the client takes, over all streams.
    send_window: i64,
    /// Of a new stream.
    initial_window: i64,
    /// What the client may still send, over all streams.
    receive_window: u32,
    calm: Calm,
    leaving: bool,
    /// The number of answers to our pings.
    pub(super) pongs: u32,
    /// Which stream is served first: it changes, so that none is left for last for ever.
    turn: usize,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    Preface,
    /// The client's settings come first.
    Settings,
    Open,
}

/// A header section in parts.
struct Block {
    stream: u32,
    end_stream: bool,
    fragment: Vec<u8>,
}

/// What ends a connection: the client is told, and it is over.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("{words}")]
pub(super) struct Failure {
    code: ErrorCode,
    words: &'static str,
}

const fn failure(code: ErrorCode, words: &'static str) -> Failure {
    Failure { code, words }
}

fn protocol(words: &'static str) -> Failure {
    failure(ErrorCode::Protocol, words)
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
        // Without a table of its own an idle connection remembers no header fields.
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
            calm: Calm::new(now),
            leaving: false,
            pongs: 0,
            turn: 0,
        }
    }

    /// Whether a request has come on it.
    pub(super) fn has_served(&self) -> bool {
        self.last_stream > 0
    }

    /// Asks for a sign of life.
    pub(super) fn ping(&mut self) {
        frame::put_ping(self.output.tail(), 0, PING);
    }

    /// Takes no more requests.
    pub(super) fn leave(&mut self) {
        if !std::mem::replace(&mut self.leaving, true) {
            let words = "the server is stopping";
            let out = self.output.tail();
            frame::put_go_away(out, self.last_stream, ErrorCode::NoError, words);
        }
    }

    /// Whether it has said that it takes no more requests, and those that it took are over.
    pub(super) fn has_left(&self) -> bool {
        self.leaving && self.streams.is_empty()
    }

    /// Tells the client why, and ends every request.
    pub(super) fn fail(&mut self, failure: Failure) {
        let out = self.output.tail();
        frame::put_go_away(out, self.last_stream, failure.code, failure.words);
        self.leaving = true;
        self.streams.clear();
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
/// Over all streams, in bytes. It is the protocol's default.
const RECEIVE_WINDOW: u32 = 65_535;

#[cfg(test)]
mod tests;
