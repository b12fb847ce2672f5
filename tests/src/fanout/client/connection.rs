//! One stream on its own connection.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use mio::{Registry, Token};
use rustix::net::sockopt::{set_socket_linger, socket_error};
use rustls::ClientConfig;

use super::transport::Transport;
use crate::fanout::content;
use crate::fanout::wire::{self, Frame};

/// What all connections share.
#[derive(Debug)]
pub(super) struct Shared {
    /// What a response must bring now.
    pub(super) content: Vec<u8>,
    tls: Option<Arc<ClientConfig>>,
    /// Where bytes are read to and written from; empty between two calls.
    input: Box<[u8]>,
    output: Vec<u8>,
    message: Vec<u8>,
}

#[derive(Debug)]
pub(super) struct Connection {
    number: usize,
    socket: Transport,
    open: bool,
    /// It has not read for a while, and may find older content before the newest.
    behind: bool,
    /// Bytes that the socket did not take.
    unsent: Vec<u8>,
    /// The beginning of a frame, and of a message.
    partial_frame: Vec<u8>,
    partial_message: Vec<u8>,
    /// Bytes of DATA frames since the last WINDOW_UPDATE.
    consumed: u32,
    /// How much DATA the server still takes, on the connection and on the stream.
    windows: [i64; 2],
    initial_window: i64,
}

impl Shared {
    pub(super) fn new(tls: Option<Arc<ClientConfig>>) -> Self {
        Self {
            content: Vec::new(),
            tls,
            input: vec![0; 64 << 10].into_boxed_slice(),
            output: Vec::new(),
            message: Vec::new(),
        }
    }
}

impl Connection {
    /// Begins to connect; events come for `token`, and the node is named by `number`.
    pub(super) fn begin(
        registry: &Registry,
        shared: &Shared,
        token: Token,
        number: usize,
        address: SocketAddr,
    ) -> anyhow::Result<Self> {
        let tls = shared.tls.as_ref();
        let socket = Transport::begin(registry, token, address, tls);
        Ok(Self {
            number,
            socket: socket.context("connecting")?,
            open: false,
            behind: false,
            unsent: Vec::new(),
            partial_frame: Vec::new(),
            partial_message: Vec::new(),
            consumed: 0,
            windows: [i64::from(wire::WINDOW); 2],
            initial_window: i64::from(wire::WINDOW),
        })
    }

    /// Breaks the connection off, so that it leaves no port behind.
    pub(super) fn abort(self) -> anyhow::Result<()> {
        Ok(set_socket_linger(&self.socket, Some(Duration::ZERO))?)
    }

    /// The socket can be written to: subscribes if that is still to be done. Returns whether
    /// it was.
    pub(super) fn write(&mut self, shared: &mut Shared) -> anyhow::Result<bool> {
        if self.open {
            let unsent = std::mem::take(&mut self.unsent);
            if !unsent.is_empty() {
                self.send(&unsent)?;
            }
            self.socket.flush().context("writing")?;
            return Ok(false);
        }
        if let Err(error) = socket_error(&self.socket)? {
            bail!("connecting: {error}");
        }
        self.open = true;
        let out = &mut shared.output;
        out.clear();
        out.extend_from_slice(wire::PREFACE);
        wire::put_frame(out, wire::SETTINGS, 0, 0, &[]);
        let headers = wire::request_headers();
        wire::put_frame(
            out,
            wire::HEADERS,
            wire::END_HEADERS,
            wire::STREAM,
            &headers,
        );
        self.put_message(out, &content::subscription(self.number))?;
        self.send(&shared.output)?;
        Ok(true)
    }

    /// From here on it does not read for a while.
    pub(super) fn fall_behind(&mut self) {
        self.behind = true;
    }

    /// Reads what has come and answers it. Returns how many responses had the newest content.
    pub(super) fn read(&mut self, shared: &mut Shared) -> anyhow::Result<usize> {
        let mut input = std::mem::take(&mut shared.input);
        let mut responses = 0;
        shared.output.clear();
        loop {
            match self.socket.read(&mut input) {
                Ok(0) => bail!("the server closed the connection"),
                Ok(length) => {
                    responses += self.take(&input[..length], shared)?;
                    if self.socket.is_empty_after(length, input.len()) {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error).context("reading"),
            }
        }
        shared.input = input;
        if !shared.output.is_empty() {
            self.send(&shared.output)?;
        }
        self.behind &= responses == 0;
        Ok(responses)
    }

    fn take(&mut self, bytes: &[u8], shared: &mut Shared) -> anyhow::Result<usize> {
        let joined;
        let mut rest = bytes;
        if !self.partial_frame.is_empty() {
            self.partial_frame.extend_from_slice(bytes);
            joined = std::mem::take(&mut self.partial_frame);
            rest = &joined;
        }
        let mut responses = 0;
        while let Some((frame, length)) = wire::first_frame(rest) {
            responses += self.enter(frame, shared)?;
            rest = &rest[length..];
        }
        self.partial_frame = rest.to_vec();
        Ok(responses)
    }

    fn enter(&mut self, frame: Frame<'_>, shared: &mut Shared) -> anyhow::Result<usize> {
        let ends = frame.has(wire::END_STREAM);
        match frame.kind {
            wire::DATA => {
                ensure!(!ends, "the server ended the stream");
                ensure!(!frame.has(wire::PADDED), "padded DATA");
                return self.data(frame.payload, shared);
            }
            wire::HEADERS => {
                let message = String::from_utf8_lossy(frame.payload);
                ensure!(
                    !ends,
                    "the server ended the stream: {}",
                    message.escape_debug()
                );
            }
            wire::SETTINGS if !frame.has(wire::ACK) => {
                self.settings(frame.payload);
                wire::put_frame(&mut shared.output, wire::SETTINGS, wire::ACK, 0, &[]);
            }
            wire::PING if !frame.has(wire::ACK) => {
                wire::put_frame(&mut shared.output, wire::PING, wire::ACK, 0, frame.payload);
            }
            wire::WINDOW_UPDATE => {
                let more = frame
                    .payload
                    .first_chunk()
                    .context("an empty WINDOW_UPDATE")?;
                let window = &mut self.windows[usize::from(frame.stream != 0)];
                *window += i64::from(u32::from_be_bytes(*more));
            }
            wire::RST_STREAM => bail!("the server reset the stream: {:?}", frame.payload),
            wire::GOAWAY => bail!("the server says GOAWAY: {:?}", frame.payload),
            _ => {}
        }
        Ok(0)
    }

    fn data(&mut self, payload: &[u8], shared: &mut Shared) -> anyhow::Result<usize> {
        self.consumed += u32::try_from(payload.len())?;
        if self.consumed > wire::WINDOW / 2 {
            wire::put_window_update(&mut shared.output, 0, self.consumed);
            wire::put_window_update(&mut shared.output, wire::STREAM, self.consumed);
            self.consumed = 0;
        }
        let joined;
        let mut rest = payload;
        if !self.partial_message.is_empty() {
            self.partial_message.extend_from_slice(payload);
            joined = std::mem::take(&mut self.partial_message);
            rest = &joined;
        }
        let mut responses = 0;
        while let Some((response, length)) = wire::first_message(rest) {
            let delivery = content::read_response(response).context("a response")?;
            let newest = delivery.body == shared.content;
            ensure!(newest || self.behind, "a response brings old content");
            shared.message.clear();
            content::put_ack(&mut shared.message, delivery.nonce);
            self.put_message(&mut shared.output, &shared.message)?;
            responses += usize::from(newest);
            rest = &rest[length..];
        }
        self.partial_message = rest.to_vec();
        Ok(responses)
    }

    /// The server's wish for the window of streams; everything else does not concern us.
    fn settings(&mut self, payload: &[u8]) {
        const INITIAL_WINDOW_SIZE: u16 = 4;
        for setting in payload.as_chunks::<6>().0 {
            let [a, b, value @ ..] = *setting;
            if u16::from_be_bytes([a, b]) == INITIAL_WINDOW_SIZE {
                let window = i64::from(u32::from_be_bytes(value));
                self.windows[1] += window - self.initial_window;
                self.initial_window = window;
            }
        }
    }

    fn put_message(&mut self, out: &mut Vec<u8>, message: &[u8]) -> anyhow::Result<()> {
        let start = out.len();
        wire::put_message(out, message);
        let length = i64::try_from(out.len() - start)?;
        for window in &mut self.windows {
            *window -= length;
            ensure!(*window > 0, "the server lets the windows run dry");
        }
        Ok(())
    }

    fn send(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        let written = if self.unsent.is_empty() {
            match self.socket.write(bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                written => written.context("writing")?,
            }
        } else {
            0
        };
        self.unsent.extend_from_slice(&bytes[written..]);
        Ok(())
    }
}
