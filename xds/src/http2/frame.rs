//! Frames, RFC 9113 sections 4, 6 and 7.

/// The length of a frame's header, in bytes.
pub(super) const HEADER_LENGTH: usize = 9;

/// The largest payload of a frame, in bytes. Neither side has to agree to it.
pub(super) const MAX_PAYLOAD: usize = 16_384;

/// The first bytes of every client.
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Data,
    Headers,
    Priority,
    ResetStream,
    Settings,
    PushPromise,
    Ping,
    GoAway,
    WindowUpdate,
    Continuation,
    /// Frames of unknown kinds are ignored.
    Unknown,
}

impl Kind {
    const fn of(number: u8) -> Self {
        match number {
            0 => Self::Data,
            1 => Self::Headers,
            2 => Self::Priority,
            3 => Self::ResetStream,
            4 => Self::Settings,
            5 => Self::PushPromise,
            6 => Self::Ping,
            7 => Self::GoAway,
            8 => Self::WindowUpdate,
            9 => Self::Continuation,
            _ => Self::Unknown,
        }
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Header {
    pub(super) length: usize,
    pub(super) kind: Kind,
    pub(super) flags: u8,
    pub(super) stream: u32,
}

impl Header {
    pub(super) fn read(bytes: [u8; HEADER_LENGTH]) -> Self {
        let [a, b, c, kind, flags, stream @ ..] = bytes;
        Self {
            length: usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c),
            kind: Kind::of(kind),
            flags,
            stream: u32::from_be_bytes(stream) & MAX_STREAM,
        }
    }

    pub(super) const fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Appends the header of a frame. `length` is at most [`MAX_PAYLOAD`].
pub(super) fn put_header(out: &mut Vec<u8>, length: usize, kind: Kind, flags: u8, stream: u32) {
    let [.., a, b, c] = u32::try_from(length).unwrap_or_default().to_be_bytes();
    out.extend_from_slice(&[a, b, c, kind as u8, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
}

pub(super) fn put_settings(out: &mut Vec<u8>, settings: &[(u16, u32)]) {
    put_header(out, settings.len() * 6, Kind::Settings, 0, 0);
    for (name, value) in settings {
        out.extend_from_slice(&name.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
}

pub(super) fn put_settings_ack(out: &mut Vec<u8>) {
    put_header(out, 0, Kind::Settings, ACK, 0);
}

pub(super) fn put_ping(out: &mut Vec<u8>, flags: u8, data: [u8; 8]) {
    put_header(out, data.len(), Kind::Ping, flags, 0);
    out.extend_from_slice(&data);
}

pub(super) fn put_window_update(out: &mut Vec<u8>, stream: u32, increment: u32) {
    put_header(out, 4, Kind::WindowUpdate, 0, stream);
    out.extend_from_slice(&increment.to_be_bytes());
}

pub(super) fn put_reset(out: &mut Vec<u8>, stream: u32, code: ErrorCode) {
    put_header(out, 4, Kind::ResetStream, 0, stream);
    out.extend_from_slice(&(code as u32).to_be_bytes());
}

pub(super) fn put_go_away(out: &mut Vec<u8>, last_stream: u32, code: ErrorCode, reason: &str) {
    put_header(out, 8 + reason.len(), Kind::GoAway, 0, 0);
    out.extend_from_slice(&last_stream.to_be_bytes());
    out.extend_from_slice(&(code as u32).to_be_bytes());
    out.extend_from_slice(reason.as_bytes());
}

/// Returns the payload of a DATA or HEADERS frame without its padding. `None` if the padding is
/// longer than the payload.
pub(super) fn unpadded(header: Header, payload: &[u8]) -> Option<&[u8]> {
    if !header.has(PADDED) {
        return Some(payload);
    }
    let (&padding, rest) = payload.split_first()?;
    rest.get(..rest.len().checked_sub(usize::from(padding))?)
}

/// Reads a payload that is one number.
pub(super) fn number(payload: &[u8]) -> Option<u32> {
    payload.try_into().ok().map(u32::from_be_bytes)
}

/// RFC 9113, section 7.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
pub(super) enum ErrorCode {
    NoError = 0,
    Protocol = 1,
    FlowControl = 3,
    StreamClosed = 5,
    FrameSize = 6,
    RefusedStream = 7,
    Cancel = 8,
    Compression = 9,
    EnhanceYourCalm = 11,
}

pub(super) const MAX_STREAM: u32 = (1 << 31) - 1;
pub(super) const MAX_WINDOW: i64 = (1 << 31) - 1;
/// The size of every window before it is changed.
pub(super) const DEFAULT_WINDOW: i64 = 65_535;

pub(super) const ACK: u8 = 0x1;
pub(super) const END_STREAM: u8 = 0x1;
pub(super) const END_HEADERS: u8 = 0x4;
pub(super) const PADDED: u8 = 0x8;
pub(super) const PRIORITY: u8 = 0x20;

pub(super) const SETTINGS_HEADER_TABLE_SIZE: u16 = 1;
pub(super) const SETTINGS_ENABLE_PUSH: u16 = 2;
pub(super) const SETTINGS_MAX_CONCURRENT_STREAMS: u16 = 3;
pub(super) const SETTINGS_INITIAL_WINDOW_SIZE: u16 = 4;
pub(super) const SETTINGS_MAX_FRAME_SIZE: u16 = 5;
pub(super) const SETTINGS_MAX_HEADER_LIST_SIZE: u16 = 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_reads_back_as_it_was_written() {
        let mut out = Vec::new();
        put_header(&mut out, MAX_PAYLOAD, Kind::Data, END_STREAM, 5);
        let header = Header::read(out.try_into().unwrap());
        let expected = Header {
            length: MAX_PAYLOAD,
            kind: Kind::Data,
            flags: END_STREAM,
            stream: 5,
        };
        assert_eq!(header, expected);
    }

    #[test]
    fn the_reserved_bit_is_no_part_of_a_stream() {
        let header = Header::read([0, 0, 4, 8, 0, 0x80, 0, 0, 1]);
        assert_eq!((header.kind, header.stream), (Kind::WindowUpdate, 1));
        assert_eq!(
            Header::read([0, 0, 0, 10, 0, 0, 0, 0, 0]).kind,
            Kind::Unknown
        );
    }

    #[test]
    fn padding_is_taken_off_and_must_fit() {
        let padded = |payload: &'static [u8]| {
            let header = Header {
                length: payload.len(),
                kind: Kind::Data,
                flags: PADDED,
                stream: 1,
            };
            unpadded(header, payload)
        };
        assert_eq!(padded(&[2, 7, 0, 0]), Some(&[7][..]));
        assert_eq!(padded(&[3, 0, 0, 0]), Some(&[][..]));
        assert_eq!(padded(&[4, 0, 0, 0]), None);
        assert_eq!(padded(&[]), None);
    }
}
