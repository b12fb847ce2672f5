//! What the standard asks of a server, on bytes.

use std::{
    fmt,
    sync::Mutex,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;

use super::*;
use crate::http2::{
    Chunks, Exchange, Fields, Part, Request,
    frame::{
        ACK, END_HEADERS, END_STREAM, HEADER_LENGTH, Header, Kind, MAX_PAYLOAD, PADDED, PREFACE,
        PRIORITY, put_header, put_settings,
    },
    hpack,
};

/// Answers with the body that it was sent, when that is complete.
#[derive(Debug, Default)]
struct Echo(Mutex<Vec<String>>);

impl Service for Echo {
    fn open(&self, request: Request, _now: Instant) -> Box<dyn Exchange> {
        self.0.lock().unwrap().push(request.path);
        Box::new(Echoing::default())
    }
}

#[derive(Default)]
struct Echoing {
    body: Vec<u8>,
    released: usize,
    finished: bool,
    step: u8,
}

impl Exchange for Echoing {
    fn receive(&mut self, data: &[u8], _now: Instant) {
        self.body.extend_from_slice(data);
        self.released += data.len();
    }

    fn finish(&mut self) {
        self.finished = true;
    }

    fn released(&mut self) -> usize {
        std::mem::take(&mut self.released)
    }

    fn poll(&mut self, _cx: &mut Context<'_>, _now: Instant) -> Poll<Part> {
        if !self.finished {
            return Poll::Pending;
        }
        self.step += 1;
        Poll::Ready(match self.step {
            1 => Part::Head(Fields::response(200).encoded()),
            2 => Part::Body(Chunks::from(Bytes::from(std::mem::take(&mut self.body)))),
            _ => Part::End(Vec::new()),
        })
    }

    fn deadline(&self) -> Option<Instant> {
        None
    }
}

struct Peer {
    connection: Connection<Echo>,
    echo: Arc<Echo>,
    now: Instant,
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer").finish_non_exhaustive()
    }
}

type Frames = Vec<(Header, Vec<u8>)>;

impl Peer {
    fn new() -> Self {
        let echo = Arc::new(Echo::default());
        let now = Instant::now();
        let bounds = Bounds {
            streams: 2,
            header_bytes: 4096,
        };
        Self {
            connection: Connection::new(Arc::clone(&echo), bounds, now),
            echo,
            now,
        }
    }

    /// Has sent its preface and settings, and read what came.
    fn greeted() -> Self {
        let mut peer = Self::new();
        let mut bytes = PREFACE.to_vec();
        put_settings(&mut bytes, &[]);
        peer.send(&bytes).unwrap();
        peer
    }

    fn send(&mut self, bytes: &[u8]) -> Result<Frames, ErrorCode> {
        let received = self.connection.receive(bytes, self.now);
        received.map_err(|failure| failure.code)?;
        let mut cx = Context::from_waker(Waker::noop());
        self.connection.drive(&mut cx, self.now);
        Ok(self.read())
    }

    fn frame(
        &mut self,
        kind: Kind,
        flags: u8,
        stream: u32,
        payload: &[u8],
    ) -> Result<Frames, ErrorCode> {
        self.send(&frame_of(kind, flags, stream, payload))
    }

    fn open(&mut self, stream: u32, flags: u8) -> Result<Frames, ErrorCode> {
        self.frame(Kind::Headers, END_HEADERS | flags, stream, &head("/a"))
    }

    /// Takes what is framed, as a socket would.
    fn read(&mut self) -> Frames {
        let bytes = std::mem::take(self.connection.output.tail());
        assert!(self.connection.output.is_empty());
        let mut rest = &bytes[..];
        let mut frames = Frames::new();
        while let Some((header, after)) = rest.split_first_chunk::<HEADER_LENGTH>() {
            let header = Header::read(*header);
            let (payload, after) = after.split_at(header.length);
            frames.push((header, payload.to_vec()));
            rest = after;
        }
        assert!(rest.is_empty());
        frames
    }
}

fn frame_of(kind: Kind, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_header(&mut bytes, payload.len(), kind, flags, stream);
    bytes.extend_from_slice(payload);
    bytes
}

fn head(path: &str) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in [(":method", "POST"), (":scheme", "http"), (":path", path)] {
        hpack::field(&mut block, name, value.as_bytes());
    }
    block
}

fn reset(frames: &Frames) -> Option<(u32, u32)> {
    let (header, payload) = frames.iter().find(|(h, _)| h.kind == Kind::ResetStream)?;
    Some((header.stream, frame::number(payload)?))
}

fn kinds(frames: &Frames) -> Vec<Kind> {
    frames.iter().map(|(header, _)| header.kind).collect()
}

#[test]
fn a_request_is_answered_however_its_bytes_are_cut() {
    let mut bytes = PREFACE.to_vec();
    put_settings(&mut bytes, &[]);
    bytes.extend(frame_of(Kind::Headers, END_HEADERS, 1, &head("/a")));
    bytes.extend(frame_of(Kind::Data, END_STREAM, 1, b"hello"));
    for size in [1, 7, bytes.len()] {
        let mut peer = Peer::new();
        let mut frames = Frames::new();
        for piece in bytes.chunks(size) {
            frames.extend(peer.send(piece).unwrap());
        }
        let answer = [
            Kind::Settings,
            Kind::Settings,
            Kind::Headers,
            Kind::Data,
            Kind::Data,
        ];
        assert_eq!(kinds(&frames), answer);
        assert_eq!(frames[3].1, b"hello");
        assert!(frames[4].0.has(END_STREAM));
        assert_eq!(*peer.echo.0.lock().unwrap(), ["/a"]);
        assert!(peer.connection.partial.is_empty() && peer.connection.streams.is_empty());
    }
}

#[test]
fn what_is_not_http2_ends_at_the_first_bytes_that_show_it() {
    assert_eq!(
        Peer::new().send(b"GET / HTTP/1.1"),
        Err(ErrorCode::Protocol)
    );
    assert!(Peer::new().send(b"PRI").unwrap().len() == 1);
    let mut bytes = PREFACE.to_vec();
    bytes.extend(frame_of(Kind::Ping, 0, 0, &[0; 8]));
    assert_eq!(Peer::new().send(&bytes), Err(ErrorCode::Protocol));
}

#[test]
fn pings_and_settings_are_answered() {
    let mut peer = Peer::greeted();
    let frames = peer.frame(Kind::Ping, 0, 0, b"12345678").unwrap();
    assert_eq!(frames[0].1, b"12345678");
    assert!(frames[0].0.has(ACK));
    assert!(
        peer.frame(Kind::Ping, ACK, 0, b"12345678")
            .unwrap()
            .is_empty()
    );
    assert_eq!(peer.connection.pongs, 1);
    let frames = peer
        .frame(Kind::Settings, 0, 0, &[0, 4, 0, 0, 0, 1])
        .unwrap();
    assert!(frames[0].0.has(ACK));
    assert!(
        peer.frame(Kind::Unknown, 0, 0, b"anything")
            .unwrap()
            .is_empty()
    );
}

/// What a frame ends the connection with, where stream 1 is closed, 3 open and 5 idle.
fn end(kind: Kind, flags: u8, stream: u32, payload: &[u8]) -> Option<ErrorCode> {
    let mut peer = Peer::greeted();
    peer.open(1, END_STREAM).unwrap();
    peer.open(3, 0).unwrap();
    peer.frame(kind, flags, stream, payload).err()
}

/// RFC 9113, sections 4 to 6: errors of the connection.
#[test]
fn frames_of_streams_that_must_not_be_end_the_connection() {
    use ErrorCode::{Compression, FrameSize, Protocol, StreamClosed};
    let headers = |stream, payload| end(Kind::Headers, END_HEADERS, stream, payload);
    let priority = |payload| end(Kind::Headers, PRIORITY | END_HEADERS, 5, payload);
    // No stream, an idle one, and padding that is too long.
    assert_eq!(end(Kind::Data, 0, 0, b"a"), Some(Protocol));
    assert_eq!(end(Kind::Data, 0, 9, b"a"), Some(Protocol));
    assert_eq!(end(Kind::Data, PADDED, 3, &[9, 0]), Some(Protocol));
    // No stream, a server's, a closed one, and an index that does not exist.
    assert_eq!(headers(0, &[]), Some(Protocol));
    assert_eq!(headers(2, &[]), Some(Protocol));
    assert_eq!(headers(1, &[]), Some(StreamClosed));
    assert_eq!(headers(5, &[0x80]), Some(Compression));
    // Half a priority, and a stream that depends on itself.
    assert_eq!(priority(&[0; 4]), Some(FrameSize));
    assert_eq!(priority(&[0, 0, 0, 5, 1]), Some(Protocol));
    assert_eq!(end(Kind::Priority, 0, 5, &[0; 4]), Some(FrameSize));
    assert_eq!(end(Kind::Priority, 0, 0, &[0; 5]), Some(Protocol));
    // No stream, an idle one, and half a code.
    assert_eq!(end(Kind::ResetStream, 0, 0, &[0; 4]), Some(Protocol));
    assert_eq!(end(Kind::ResetStream, 0, 9, &[0; 4]), Some(Protocol));
    assert_eq!(end(Kind::ResetStream, 0, 3, &[0; 3]), Some(FrameSize));
    // Nothing is to be continued, and a client promises nothing.
    assert_eq!(end(Kind::Continuation, 0, 3, &[]), Some(Protocol));
    assert_eq!(end(Kind::PushPromise, 0, 3, &[0; 4]), Some(Protocol));
}

/// RFC 9113, sections 6.5, 6.7 and 6.9.
#[test]
fn frames_of_the_connection_that_must_not_be_end_it() {
    use ErrorCode::{FlowControl, FrameSize, Protocol};
    let setting = |payload| end(Kind::Settings, 0, 0, payload);
    // Of a stream, a part of one, and an answer that has some.
    assert_eq!(end(Kind::Settings, 0, 3, &[]), Some(Protocol));
    assert_eq!(setting(&[0; 5]), Some(FrameSize));
    assert_eq!(end(Kind::Settings, ACK, 0, &[0; 6]), Some(FrameSize));
    // Push neither on nor off, a window too large, frames too small.
    assert_eq!(setting(&[0, 2, 0, 0, 0, 2]), Some(Protocol));
    assert_eq!(setting(&[0, 4, 0x80, 0, 0, 0]), Some(FlowControl));
    assert_eq!(setting(&[0, 5, 0, 0, 0, 1]), Some(Protocol));
    assert_eq!(end(Kind::Ping, 0, 3, &[0; 8]), Some(Protocol));
    assert_eq!(end(Kind::Ping, 0, 0, &[0; 7]), Some(FrameSize));
    // A window that grows by nothing, and one that grows too large.
    assert_eq!(end(Kind::WindowUpdate, 0, 0, &[0; 4]), Some(Protocol));
    let huge = [0x7f, 0xff, 0xff, 0xff];
    assert_eq!(end(Kind::WindowUpdate, 0, 0, &huge), Some(FlowControl));
}

/// RFC 9113, sections 5.1, 6.9 and 8.1: errors of a stream leave the others alone.
#[test]
fn errors_of_a_stream_reset_it_alone() {
    use ErrorCode::{FlowControl, Protocol, StreamClosed};
    let huge = [0x7f, 0xff, 0xff, 0xff];
    let path = hpack_field(":path", "/");
    let reset_by = |kind, flags, payload: &[u8]| {
        let mut peer = Peer::greeted();
        peer.open(1, 0).unwrap();
        peer.open(3, 0).unwrap();
        let frames = peer.frame(kind, flags, 3, payload).unwrap();
        let (stream, code) = reset(&frames).unwrap();
        assert_eq!(stream, 3);
        let frames = peer.frame(Kind::Data, END_STREAM, 1, b"hello").unwrap();
        assert_eq!(frames[1].1, b"hello");
        code
    };
    // A window that grows by nothing, and one that grows too large.
    assert_eq!(reset_by(Kind::WindowUpdate, 0, &[0; 4]), Protocol as u32);
    assert_eq!(reset_by(Kind::WindowUpdate, 0, &huge), FlowControl as u32);
    // Trailers that do not end the request, and a path among trailers.
    let trailers = |flags, block| reset_by(Kind::Headers, END_HEADERS | flags, block);
    assert_eq!(trailers(0, &[]), Protocol as u32);
    assert_eq!(trailers(END_STREAM, &path), Protocol as u32);
    let mut peer = Peer::greeted();
    peer.open(1, END_STREAM).unwrap();
    let frames = peer.frame(Kind::Data, 0, 1, &[b'a'; 50]).unwrap();
    assert_eq!(reset(&frames), Some((1, StreamClosed as u32)));
}

fn hpack_field(name: &str, value: &str) -> Vec<u8> {
    let mut block = Vec::new();
    hpack::field(&mut block, name, value.as_bytes());
    block
}

#[test]
fn what_crosses_a_reset_is_ignored() {
    let mut peer = Peer::greeted();
    peer.open(1, 0).unwrap();
    peer.frame(Kind::WindowUpdate, 0, 1, &[0; 4]).unwrap();
    assert!(
        peer.frame(Kind::Data, 0, 1, &[b'a'; 50])
            .unwrap()
            .is_empty()
    );
    assert!(peer.open(1, END_STREAM).unwrap().is_empty());
    assert!(
        peer.frame(Kind::WindowUpdate, 0, 1, &[0, 0, 0, 1])
            .unwrap()
            .is_empty()
    );
}

#[test]
fn a_stream_beyond_the_limit_is_refused_and_its_fields_are_decoded_all_the_same() {
    let mut peer = Peer::greeted();
    peer.open(1, 0).unwrap();
    peer.open(3, 0).unwrap();
    let mut indexed = head("/a");
    indexed.extend([0x40, 1, b'n', 1, b'v']);
    let frames = peer.frame(Kind::Headers, END_HEADERS, 5, &indexed).unwrap();
    assert_eq!(reset(&frames), Some((5, ErrorCode::RefusedStream as u32)));
    peer.frame(Kind::ResetStream, 0, 3, &[0; 4]).unwrap();
    let mut block = head("/a");
    block.push(0xbe);
    let frames = peer.frame(Kind::Headers, END_HEADERS, 7, &block).unwrap();
    assert_eq!(reset(&frames), None);
    assert_eq!(peer.echo.0.lock().unwrap().len(), 3);
}

#[test]
fn a_header_section_may_come_in_parts_that_nothing_interrupts() {
    let mut peer = Peer::greeted();
    let block = head("/parts");
    let (first, second) = block.split_at(9);
    peer.frame(Kind::Headers, END_STREAM, 1, first).unwrap();
    peer.frame(Kind::Continuation, 0, 1, &[]).unwrap();
    let frames = peer
        .frame(Kind::Continuation, END_HEADERS, 1, second)
        .unwrap();
    assert_eq!(frames[0].0.kind, Kind::Headers);
    assert_eq!(*peer.echo.0.lock().unwrap(), ["/parts"]);
    peer.frame(Kind::Headers, 0, 3, first).unwrap();
    assert_eq!(
        peer.frame(Kind::Ping, 0, 0, &[0; 8]),
        Err(ErrorCode::Protocol)
    );
}

#[test]
fn a_header_section_without_end_is_stopped() {
    let mut peer = Peer::greeted();
    peer.frame(Kind::Headers, 0, 1, &head("/a")).unwrap();
    peer.frame(Kind::Continuation, 0, 1, &[0; 4000]).unwrap();
    let failed = peer.frame(Kind::Continuation, 0, 1, &[0; 4000]);
    assert_eq!(failed, Err(ErrorCode::EnhanceYourCalm));
}

#[test]
fn more_data_than_the_windows_allow_is_an_error() {
    let mut peer = Peer::greeted();
    peer.open(1, 0).unwrap();
    let full = frame_of(Kind::Data, 0, 1, &[0; MAX_PAYLOAD]);
    // Echo gives back what it reads: the windows grow again.
    for _ in 0..8 {
        assert_eq!(reset(&peer.send(&full).unwrap()), None);
    }
    peer.connection.streams[0].receive_window = 10;
    let frames = peer.send(&full).unwrap();
    assert_eq!(reset(&frames), Some((1, ErrorCode::FlowControl as u32)));
    peer.connection.receive_window = 10;
    assert_eq!(peer.send(&full), Err(ErrorCode::FlowControl));
}

#[test]
fn a_change_of_the_initial_window_reaches_open_streams() {
    let mut peer = Peer::greeted();
    let small = [0, 4, 0, 0, 0, 3];
    peer.frame(Kind::Settings, 0, 0, &small).unwrap();
    peer.open(1, 0).unwrap();
    let frames = peer.frame(Kind::Data, END_STREAM, 1, b"hello").unwrap();
    assert_eq!(frames[1].1, b"hel");
    let frames = peer
        .frame(Kind::Settings, 0, 0, &[0, 4, 0, 0, 0, 2])
        .unwrap();
    assert_eq!(kinds(&frames), [Kind::Settings]);
    let frames = peer.frame(Kind::WindowUpdate, 0, 1, &[0, 0, 0, 3]).unwrap();
    assert_eq!(frames[0].1, b"lo");
    assert!(frames[1].0.has(END_STREAM));
}

#[test]
fn t25_floods_of_frames_for_nothing_end_the_connection() {
    let head = head("/a");
    let flood = |kind, stream, payload: &[u8]| {
        let mut peer = Peer::greeted();
        peer.open(1, 0).unwrap();
        let flood = frame_of(kind, 0, stream, payload);
        let ended = (0..10_000).find_map(|_| peer.send(&flood).err());
        assert_eq!(ended, Some(ErrorCode::EnhanceYourCalm), "{kind:?}");
    };
    flood(Kind::Ping, 0, &[0; 8]);
    flood(Kind::Settings, 0, &[]);
    flood(Kind::WindowUpdate, 1, &[0, 0, 0, 1]);
    flood(Kind::Priority, 1, &[0; 5]);
    flood(Kind::Data, 1, &[]);
    flood(Kind::Unknown, 0, &[]);
    let mut peer = Peer::greeted();
    let ended = (0..10_000).find_map(|number| {
        let stream = 2 * number + 1;
        let mut bytes = frame_of(Kind::Headers, END_HEADERS, stream, &head);
        bytes.extend(frame_of(Kind::ResetStream, 0, stream, &[0; 4]));
        peer.send(&bytes).err()
    });
    assert_eq!(ended, Some(ErrorCode::EnhanceYourCalm), "rapid resets");
}

#[test]
fn pings_at_a_human_pace_are_fine_for_ever() {
    let mut peer = Peer::greeted();
    for _ in 0..10_000 {
        peer.now += Duration::from_millis(100);
        assert_eq!(peer.frame(Kind::Ping, 0, 0, &[0; 8]).unwrap().len(), 1);
    }
}

#[test]
fn a_connection_that_leaves_finishes_what_it_has_and_takes_no_more() {
    let mut peer = Peer::greeted();
    peer.open(1, 0).unwrap();
    peer.connection.leave();
    assert_eq!(kinds(&peer.read()), [Kind::GoAway]);
    assert!(!peer.connection.has_left());
    let frames = peer.open(3, END_STREAM).unwrap();
    assert_eq!(reset(&frames), Some((3, ErrorCode::RefusedStream as u32)));
    peer.frame(Kind::Data, END_STREAM, 1, b"hello").unwrap();
    assert!(peer.connection.has_left());
}

#[test]
fn an_error_is_said_before_the_end() {
    let mut peer = Peer::greeted();
    peer.open(1, 0).unwrap();
    peer.connection.fail(protocol_failure());
    let frames = peer.read();
    assert_eq!(kinds(&frames), [Kind::GoAway]);
    assert_eq!(frames[0].1[..8], [0, 0, 0, 1, 0, 0, 0, 1]);
    assert_eq!(frames[0].1[8..], *b"because");
    assert!(peer.connection.has_left());
}

const fn protocol_failure() -> Failure {
    failure(ErrorCode::Protocol, "because")
}
