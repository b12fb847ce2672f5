//! A client that holds a server to the rules: which frames may come, and how much data.

use std::collections::BTreeMap;

use crate::http2::frame::{
    self, ACK, END_HEADERS, END_STREAM, ErrorCode, HEADER_LENGTH, Header, Kind, MAX_PAYLOAD,
    PREFACE,
};

/// What one client knows of its connection.
#[derive(Debug)]
pub(super) struct Client {
    greeted: bool,
    /// Sent, and not yet looked at.
    sent: Vec<u8>,
    /// The stream whose header section the client has not completed.
    incomplete: Option<u32>,
    streams: BTreeMap<u32, Response>,
    /// What the server may still send, over all streams and on a new one.
    window: i64,
    initial_window: i64,
    /// What the client may still send, as far as it was told. Never more than at first.
    server_window: i64,
    pings: usize,
    settings: usize,
    /// The server's first frame, which must be its settings, has come.
    server_greeted: bool,
    /// What the server ended the connection with.
    pub(super) farewell: Option<u32>,
}

/// A response as it comes.
#[derive(Debug)]
struct Response {
    window: i64,
    server_window: i64,
    begun: bool,
    ended: bool,
    reset: bool,
}

impl Client {
    pub(super) const fn new() -> Self {
        Self {
            greeted: false,
            sent: Vec::new(),
            incomplete: None,
            streams: BTreeMap::new(),
            window: frame::DEFAULT_WINDOW,
            initial_window: frame::DEFAULT_WINDOW,
            server_window: frame::DEFAULT_WINDOW,
            pings: 0,
            settings: 0,
            server_greeted: false,
            farewell: None,
        }
    }

    /// The server has read these bytes of the client.
    pub(super) fn sends(&mut self, bytes: &[u8]) {
        self.sent.extend_from_slice(bytes);
        if !self.greeted {
            if self.sent.len() < PREFACE.len() {
                return;
            }
            self.sent.drain(..PREFACE.len());
            self.greeted = true;
        }
        let sent = std::mem::take(&mut self.sent);
        let mut rest = &sent[..];
        while let Some((header, after)) = rest.split_first_chunk::<HEADER_LENGTH>() {
            let header = Header::read(*header);
            let Some((payload, after)) = after.split_at_checked(header.length) else {
                break;
            };
            self.sends_frame(header, payload);
            rest = after;
        }
        self.sent = rest.to_vec();
    }

    fn sends_frame(&mut self, header: Header, payload: &[u8]) {
        match header.kind {
            Kind::Headers => {
                self.incomplete = Some(header.stream);
                self.completes(header);
            }
            Kind::Continuation => self.completes(header),
            Kind::Data => {
                let length = i64::try_from(payload.len()).expect("a frame");
                self.server_window -= length;
                if let Some(stream) = self.streams.get_mut(&header.stream) {
                    stream.server_window -= length;
                }
            }
            Kind::WindowUpdate => {
                let increment = frame::number(payload).unwrap_or_default() & frame::MAX_STREAM;
                if header.stream == 0 {
                    self.window += i64::from(increment);
                } else if let Some(stream) = self.streams.get_mut(&header.stream) {
                    stream.window += i64::from(increment);
                }
            }
            Kind::Settings if !header.has(ACK) => {
                self.settings += 1;
                for &[a, b, value @ ..] in payload.as_chunks::<6>().0 {
                    if u16::from_be_bytes([a, b]) == frame::SETTINGS_INITIAL_WINDOW_SIZE {
                        let window = i64::from(u32::from_be_bytes(value));
                        for stream in self.streams.values_mut() {
                            stream.window += window - self.initial_window;
                        }
                        self.initial_window = window;
                    }
                }
            }
            Kind::Ping if !header.has(ACK) => self.pings += 1,
            Kind::Priority
            | Kind::ResetStream
            | Kind::Settings
            | Kind::PushPromise
            | Kind::Ping
            | Kind::GoAway
            | Kind::Unknown => {}
        }
    }

    fn completes(&mut self, header: Header) {
        if header.has(END_HEADERS)
            && let Some(id) = self.incomplete.take()
        {
            self.streams.entry(id).or_insert(Response {
                window: self.initial_window,
                server_window: frame::DEFAULT_WINDOW,
                begun: false,
                ended: false,
                reset: false,
            });
        }
    }

    /// A frame of the server.
    ///
    /// # Panics
    /// If it must not come.
    pub(super) fn receives(&mut self, header: Header, payload: &[u8]) {
        assert!(header.length <= MAX_PAYLOAD, "a frame that is too long");
        let settings = header.kind == Kind::Settings && !header.has(ACK);
        let first = !std::mem::replace(&mut self.server_greeted, true);
        assert_eq!(first, settings, "settings come first, and once");
        if self
            .farewell
            .is_some_and(|code| code != ErrorCode::NoError as u32)
        {
            panic!("{header:?} after the end");
        }
        match header.kind {
            Kind::Data => self.receives_data(header),
            Kind::Headers => {
                assert!(header.has(END_HEADERS), "these header sections are short");
                let response = self.response(header.stream);
                assert!(!response.begun || header.has(END_STREAM), "two heads");
                response.begun = true;
                response.ended = header.has(END_STREAM);
            }
            Kind::ResetStream => {
                // To open a stream closes those before it.
                let last = self.streams.last_key_value().map_or(0, |(id, _)| *id);
                assert!(header.stream <= last, "a reset of an idle stream");
                if let Some(response) = self.streams.get_mut(&header.stream) {
                    response.reset = true;
                }
            }
            Kind::Settings => {
                if header.has(ACK) {
                    self.settings = self.settings.checked_sub(1).expect("an ACK of settings");
                }
            }
            Kind::Ping => {
                if header.has(ACK) {
                    self.pings = self.pings.checked_sub(1).expect("an answer to a ping");
                }
            }
            Kind::GoAway => {
                let code = payload[4..].first_chunk().expect("a code");
                self.farewell = Some(u32::from_be_bytes(*code));
            }
            Kind::WindowUpdate => self.receives_window(header, payload),
            Kind::Priority | Kind::PushPromise | Kind::Continuation | Kind::Unknown => {
                panic!("a server sends no {header:?}")
            }
        }
    }

    fn receives_data(&mut self, header: Header) {
        let length = i64::try_from(header.length).expect("a frame");
        self.window -= length;
        assert!(
            length == 0 || self.window >= 0,
            "more than the connection takes"
        );
        let response = self.response(header.stream);
        assert!(response.begun, "data before the head");
        response.window -= length;
        assert!(
            length == 0 || response.window >= 0,
            "more than the stream takes"
        );
        response.ended = header.has(END_STREAM);
        assert!(length > 0 || response.ended, "an empty frame");
    }

    fn receives_window(&mut self, header: Header, payload: &[u8]) {
        let increment = frame::number(payload).expect("an increment");
        assert!(increment > 0, "a window grows by nothing");
        let window = if header.stream == 0 {
            &mut self.server_window
        } else {
            let stream = self.streams.get_mut(&header.stream);
            &mut stream.expect("a window of an open stream").server_window
        };
        *window += i64::from(increment);
        assert!(
            *window <= frame::DEFAULT_WINDOW,
            "a window larger than at first"
        );
    }

    /// The response of a stream on which something may come.
    fn response(&mut self, id: u32) -> &mut Response {
        let response = self.streams.get_mut(&id).expect("a stream that was opened");
        assert!(
            !response.ended && !response.reset,
            "more on a stream that is over"
        );
        response
    }
}

pub(super) type Frames = Vec<(Header, Vec<u8>)>;

/// Cuts what a connection has written into frames. There is never a part of one.
pub(super) fn frames(mut bytes: &[u8]) -> Frames {
    let mut frames = Frames::new();
    while let Some((header, rest)) = bytes.split_first_chunk::<HEADER_LENGTH>() {
        let header = Header::read(*header);
        let (payload, rest) = rest.split_at(header.length);
        frames.push((header, payload.to_vec()));
        bytes = rest;
    }
    assert!(bytes.is_empty());
    frames
}
