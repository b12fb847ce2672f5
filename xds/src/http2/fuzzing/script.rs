//! What a client does, and when the socket takes something: read out of a fuzzer's bytes.

use std::time::Duration;

use super::service::PATHS;
use crate::http2::{
    frame::{
        self, END_HEADERS, END_STREAM, Kind, PADDED, PREFACE, PRIORITY, put_header, put_settings,
    },
    hpack,
};

#[derive(Debug)]
pub(super) enum Step {
    /// The client sends this.
    Send(Vec<u8>),
    /// The server reads what it has been sent, and its socket takes so many bytes.
    Serve {
        room: usize,
    },
    Pass(Duration),
    /// The server takes no more requests.
    Leave,
    /// The server asks for a sign of life.
    Ping,
}

/// A byte says what the next step is, and those after it with what. What is missing at the end
/// is zero.
pub(super) struct Script<'a> {
    bytes: &'a [u8],
    greeted: bool,
    /// The client's next stream.
    next: u32,
}

impl<'a> Script<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            greeted: false,
            next: 1,
        }
    }

    fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.bytes.split_first() else {
            return 0;
        };
        self.bytes = rest;
        first
    }

    fn word(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    fn number(&mut self) -> u32 {
        u32::from(self.word()) << 16 | u32::from(self.word())
    }

    /// As many bytes as the next one says.
    fn some(&mut self) -> &'a [u8] {
        let length = usize::from(self.byte()).min(self.bytes.len());
        let (some, rest) = self.bytes.split_at(length);
        self.bytes = rest;
        some
    }

    /// One of the first streams, or the connection.
    fn stream(choice: u8) -> u32 {
        match choice % 8 {
            7 => 0,
            choice => 2 * u32::from(choice) + 1,
        }
    }

    fn headers(&mut self, choice: u8) -> Vec<u8> {
        let path = PATHS[usize::from(choice) % PATHS.len()];
        let stream = if choice < 8 {
            self.next += 2;
            self.next - 2
        } else {
            Self::stream(self.byte())
        };
        let flags = self.byte();
        let mut block = request(path);
        match flags >> 6 {
            1 => block.extend_from_slice(self.some()),
            2 => {
                let length = self.word().to_string();
                hpack::field(&mut block, "content-length", length.as_bytes());
            }
            3 => block = self.some().to_vec(),
            _ => {}
        }
        let mut payload = Vec::new();
        if flags & PADDED != 0 {
            payload.push(2);
        }
        if flags & PRIORITY != 0 {
            payload.extend([0, 0, 0, 0, 7]);
        }
        payload.extend(block);
        if flags & PADDED != 0 {
            payload.extend([0; 2]);
        }
        // Most header sections are whole.
        let flags = flags & (END_STREAM | PADDED | PRIORITY) | !flags & END_HEADERS;
        framed(Kind::Headers, flags, stream, &payload)
    }

    fn data(&mut self, choice: u8) -> Vec<u8> {
        let length = usize::from(self.word()) % (frame::MAX_PAYLOAD + 1);
        let mut payload = vec![b'd'; length];
        let padded = choice & 8 != 0;
        if padded && let Some(first) = payload.first_mut() {
            *first = self.byte();
        }
        let end = self.byte() & END_STREAM;
        let flags = end | if padded { PADDED } else { 0 };
        framed(Kind::Data, flags, Self::stream(choice), &payload)
    }

    fn raw(&mut self) -> Vec<u8> {
        let (kind, flags, stream) = (self.byte(), self.byte(), self.byte());
        let payload = self.some();
        let mut bytes = framed(Kind::Data, flags, Self::stream(stream), payload);
        bytes[3] = kind;
        bytes
    }

    fn settings(&mut self, choice: u8) -> Vec<u8> {
        if choice == 0 {
            return framed(Kind::Settings, frame::ACK, 0, &[]);
        }
        let mut bytes = Vec::new();
        let names = [
            frame::SETTINGS_INITIAL_WINDOW_SIZE,
            frame::SETTINGS_MAX_FRAME_SIZE,
            frame::SETTINGS_ENABLE_PUSH,
            9,
        ];
        let settings: Vec<_> = (0..choice % 4)
            .map(|_| (names[usize::from(self.byte()) % names.len()], self.number()))
            .collect();
        put_settings(&mut bytes, &settings);
        bytes
    }
}

impl Iterator for Script<'_> {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        if self.bytes.is_empty() {
            return None;
        }
        let step = self.byte();
        let (step, choice) = (step & 15, step >> 4);
        if !std::mem::replace(&mut self.greeted, true) && choice != 15 {
            let mut bytes = PREFACE.to_vec();
            put_settings(&mut bytes, &[]);
            return Some(Step::Send(bytes));
        }
        Some(Step::Send(match step {
            0 | 1 => self.headers(choice),
            2 | 3 => self.data(choice),
            4 => {
                let payload = self.number().to_be_bytes();
                framed(Kind::WindowUpdate, 0, Self::stream(choice), &payload)
            }
            5 => self.settings(choice),
            6 => framed(Kind::Ping, choice & frame::ACK, 0, &[7; 8]),
            7 => {
                let code = self.number().to_be_bytes();
                framed(Kind::ResetStream, 0, Self::stream(choice), &code)
            }
            8 => {
                let flags = choice & END_HEADERS;
                let stream = Self::stream(self.byte());
                framed(Kind::Continuation, flags, stream, self.some())
            }
            9 => self.raw(),
            10 => self.some().to_vec(),
            11 => return Some(Step::Serve { room: 1 << 20 }),
            12 => {
                let room = usize::from(self.word());
                return Some(Step::Serve { room });
            }
            13 => return Some(Step::Pass(Duration::from_millis(self.word().into()))),
            14 if choice % 2 == 0 => return Some(Step::Ping),
            14 => return Some(Step::Leave),
            _ => self.data(choice).repeat(3),
        }))
    }
}

fn framed(kind: Kind, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(frame::HEADER_LENGTH + payload.len());
    put_header(&mut bytes, payload.len(), kind, flags, stream);
    bytes.extend_from_slice(payload);
    bytes
}

/// The fields of a request, as a header block that needs no table.
pub(super) fn request(path: &str) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in [(":method", "POST"), (":scheme", "http"), (":path", path)] {
        hpack::field(&mut block, name, value.as_bytes());
    }
    block
}
