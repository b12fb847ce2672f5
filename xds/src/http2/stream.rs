use super::{
    exchange::{Chunks, Exchange, Part},
    frame::{self, END_HEADERS, END_STREAM, Kind, MAX_PAYLOAD},
    output::Output,
};

/// An open stream.
pub(super) struct Stream {
    pub(super) id: u32,
    pub(super) exchange: Box<dyn Exchange>,
    /// What this server may still send. A change of the client's settings may leave it below zero.
    pub(super) send_window: i64,
    /// What the client may still send.
    pub(super) receive_window: u32,
    /// What it may send again and has not been told yet.
    owed: u32,
    /// What is left of the body, if the request said its length.
    pub(super) expected: Option<u64>,
    /// The request is complete.
    pub(super) client_done: bool,
    outbound: Chunks,
    ending: Option<Vec<u8>>,
    /// The response is complete, up to the last byte.
    pub(super) done: bool,
}

impl Stream {
    pub(super) fn new(id: u32, exchange: Box<dyn Exchange>, send_window: i64) -> Self {
        Self {
            id,
            exchange,
            send_window,
            receive_window: WINDOW,
            owed: 0,
            expected: None,
            client_done: false,
            outbound: Chunks::default(),
            ending: None,
            done: false,
        }
    }

    /// Whether the next part of the response can be taken.
    pub(super) fn is_writable(&self, output: &Output) -> bool {
        self.outbound.is_empty() && self.ending.is_none() && output.len() < HIGH_WATER
    }

    pub(super) fn take(&mut self, part: Part, output: &mut Output) {
        match part {
            Part::Head(block) => put_block(output.tail(), self.id, 0, &block),
            Part::Body(chunks) => self.outbound = chunks,
            Part::End(block) => self.ending = Some(block),
        }
    }

    /// Frames as much as the windows and the output have room for. Returns the number of frames.
    pub(super) fn flush(&mut self, output: &mut Output, connection_window: &mut i64) -> usize {
        let mut frames = 0;
        while !self.outbound.is_empty() && output.len() < HIGH_WATER {
            let window = self.send_window.min(*connection_window);
            let Some(window) = usize::try_from(window).ok().filter(|window| *window > 0) else {
                return frames;
            };
            let length = self.outbound.length(window.min(MAX_PAYLOAD));
            frame::put_header(output.tail(), length, Kind::Data, 0, self.id);
            let mut left = length;
            while left > 0
                && let Some(chunk) = self.outbound.take(left)
            {
                left -= chunk.len();
                output.put(chunk);
            }
            let spent = i64::try_from(length).unwrap_or(i64::MAX);
            self.send_window -= spent;
            *connection_window -= spent;
            frames += 1;
        }
        if self.outbound.is_empty()
            && let Some(block) = self.ending.take()
        {
            if block.is_empty() {
                frame::put_header(output.tail(), 0, Kind::Data, END_STREAM, self.id);
            } else {
                put_block(output.tail(), self.id, END_STREAM, &block);
            }
            self.done = true;
        }
        frames
    }

    /// Lets the client send more, as far as its body was processed.
    pub(super) fn credit(&mut self, padding: usize, output: &mut Output) {
        let released = self.exchange.released() + padding;
        self.owed += u32::try_from(released).unwrap_or_default();
        if self.owed >= WINDOW / 2 && !self.client_done {
            frame::put_window_update(output.tail(), self.id, self.owed);
            self.receive_window += self.owed;
            self.owed = 0;
        }
    }

    /// Counts a part of the body. Returns false if the body is longer or shorter than the request
    /// said.
    pub(super) fn measure(&mut self, length: usize, last: bool) -> bool {
        let Some(expected) = &mut self.expected else {
            return true;
        };
        match expected.checked_sub(length as u64) {
            Some(left) => {
                *expected = left;
                !last || left == 0
            }
            None => false,
        }
    }
}

/// Writes a header section, in as many frames as it needs.
fn put_block(out: &mut Vec<u8>, stream: u32, flags: u8, block: &[u8]) {
    let mut kind = Kind::Headers;
    let mut flags = flags;
    let mut pieces = block.chunks(MAX_PAYLOAD).peekable();
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_none() {
            flags |= END_HEADERS;
        }
        frame::put_header(out, piece.len(), kind, flags, stream);
        out.extend_from_slice(piece);
        kind = Kind::Continuation;
        flags = 0;
    }
}

/// What a client may send on a new stream, in bytes. It is the protocol's default, so that no
/// setting is needed.
const WINDOW: u32 = 65_535;

/// Nothing more is framed while so many bytes wait for the socket. The frame that exceeds it
/// may be one of the largest.
pub(super) const HIGH_WATER: usize = 16_384;

#[cfg(test)]
mod tests;
