//! One frame: read by a connection and by the reference, and written back.

use std::{
    sync::Arc,
    task::{Context, Poll, Waker},
};

use h2::{
    frame::{Frame, Head, Reason},
    proto::Error,
};
use tokio::time::Instant;

use super::{
    client::{Frames, frames},
    reference::Reference,
    script::request,
    service::Scripted,
};
use crate::http2::{
    connection::{Bounds, Connection},
    frame::{
        self, ACK, END_HEADERS, END_STREAM, ErrorCode, HEADER_LENGTH, Header, Kind, MAX_PAYLOAD,
        PREFACE,
    },
};

/// The first nine bytes are the frame's header, except that its length is that of the rest.
///
/// # Panics
/// If a connection and the reference disagree about the frame.
pub(crate) fn check(bytes: &[u8]) {
    let Some((&header, payload)) = bytes.split_first_chunk::<HEADER_LENGTH>() else {
        return;
    };
    let payload = &payload[..payload.len().min(MAX_PAYLOAD)];
    let [.., a, b, c] = payload.len().to_be_bytes();
    let [_, _, _, kind, flags, stream @ ..] = header;
    let [d, e, f, g] = stream;
    let raw = [a, b, c, kind, flags, d, e, f, g];
    let header = Header::read(raw);
    check_header(raw, header);
    check_written(header, payload);
    check_read(header, &[&raw, payload].concat());
}

fn check_header(raw: [u8; HEADER_LENGTH], header: Header) {
    let head = Head::parse(&raw);
    assert_eq!(head.stream_id(), header.stream);
    assert_eq!(head.flag(), header.flags);
    assert_eq!(head.kind() as u8, header.kind as u8);
    if header.kind != Kind::Unknown {
        let mut written = Vec::new();
        frame::put_header(
            &mut written,
            header.length,
            header.kind,
            header.flags,
            header.stream,
        );
        // All but the reserved bit.
        let mut raw = raw;
        raw[5] &= 0x7f;
        assert_eq!(written, raw);
    }
}

/// What this crate writes, the reference reads. The numbers are taken from the frame.
fn check_written(header: Header, payload: &[u8]) {
    let mut numbers = payload.as_chunks::<4>().0.iter();
    let mut number = || numbers.next().map_or(1, |bytes| u32::from_be_bytes(*bytes));
    let (stream, increment) = (header.stream.max(1), (number() & i32::MAX as u32).max(1));
    let (window, streams) = (number() & i32::MAX as u32, number());
    let ping = u64::from(number()) << 32 | u64::from(number());
    let ping = ping.to_be_bytes();
    let mut out = Vec::new();
    frame::put_window_update(&mut out, header.stream, increment);
    frame::put_reset(&mut out, stream, ErrorCode::Cancel);
    let settings = [
        (frame::SETTINGS_INITIAL_WINDOW_SIZE, window),
        (frame::SETTINGS_MAX_CONCURRENT_STREAMS, streams),
    ];
    frame::put_settings(&mut out, &settings);
    frame::put_settings_ack(&mut out);
    frame::put_ping(&mut out, header.flags & ACK, ping);
    frame::put_go_away(&mut out, stream, ErrorCode::EnhanceYourCalm, "because");
    let read = Reference::new().read(&out);
    let mut read = read.into_iter().map(|frame| frame.expect("h2 reads it"));
    let mut next = || read.next().expect("h2 reads as many frames");
    assert!(matches!(
        next(),
        Frame::WindowUpdate(update)
            if update.stream_id() == header.stream && update.size_increment() == increment
    ));
    assert!(matches!(
        next(),
        Frame::Reset(reset) if reset.stream_id() == stream && reset.reason() == Reason::CANCEL
    ));
    assert!(matches!(
        next(),
        Frame::Settings(read) if !read.is_ack()
            && read.initial_window_size() == Some(window)
            && read.max_concurrent_streams() == Some(streams)
    ));
    assert!(matches!(next(), Frame::Settings(read) if read.is_ack()));
    assert!(matches!(
        next(),
        Frame::Ping(read) if *read.payload() == ping && read.is_ack() == header.has(ACK)
    ));
    assert!(matches!(
        next(),
        Frame::GoAway(read) if read.last_stream_id() == stream
            && read.reason() == Reason::ENHANCE_YOUR_CALM
            && &read.debug_data()[..] == b"because"
    ));
}

/// Reads a frame on a connection whose stream 1 is open, 3 closed, and all others idle.
fn check_read(header: Header, bytes: &[u8]) {
    let mut peer = Peer::new();
    let ours = peer.send(bytes);
    match Reference::new().read(bytes).pop() {
        Some(Err(Error::GoAway(..) | Error::Io(..))) => {
            let milder = is_milder_here(header, bytes);
            let resets = ours.iter().flatten().any(|f| f.0.kind == Kind::ResetStream);
            assert!(
                ours.is_err() || milder && (resets || ours.is_ok()),
                "{header:?} is taken"
            );
        }
        // Header fields that make no request, and a stream that depends on itself. Here fields
        // are looked at when the section is complete.
        Some(Err(Error::Reset(..))) => {
            let resets = ours.iter().flatten().any(|f| f.0.kind == Kind::ResetStream);
            let incomplete = header.kind == Kind::Headers && !header.has(END_HEADERS);
            assert!(ours.is_err() || resets || incomplete, "{header:?} is taken");
        }
        Some(Ok(theirs)) => check_effect(&mut peer, &theirs, ours),
        // An unknown kind, or the beginning of a header section.
        None => assert!(ours.is_ok() || header.kind != Kind::Unknown),
    }
}

/// Where the reference ends the connection, and RFC 9113 asks for less.
fn is_milder_here(header: Header, bytes: &[u8]) -> bool {
    match header.kind {
        // 6.9: a window that grows by nothing is an error of its stream alone.
        Kind::WindowUpdate => header.stream != 0 && header.length == 4,
        // 8.1.1: a malformed request is an error of its stream alone. Which fields h2 cannot
        // express is left to the check of header blocks. 4.2: so is padding to the last byte.
        Kind::Headers => bytes.len() > HEADER_LENGTH,
        // RFC 8441: a setting that this server does not use is ignored with every value.
        Kind::Settings => {
            let settings = bytes[HEADER_LENGTH..].as_chunks::<6>().0;
            settings.iter().any(|setting| setting[..2] == [0, 8])
        }
        Kind::Data
        | Kind::Priority
        | Kind::ResetStream
        | Kind::PushPromise
        | Kind::Ping
        | Kind::GoAway
        | Kind::Continuation
        | Kind::Unknown => false,
    }
}

fn check_effect(peer: &mut Peer, theirs: &Frame, ours: Result<Frames, ErrorCode>) {
    match theirs {
        Frame::Data(data) if data.stream_id() == 1 => {
            let mut answer = ours.expect("data of an open stream");
            if !data.is_end_stream() {
                let mut end = Vec::new();
                frame::put_header(&mut end, 0, Kind::Data, END_STREAM, 1);
                answer.extend(peer.send(&end).expect("the end of the stream"));
            }
            let body = answer
                .iter()
                .filter(|(header, _)| header.kind == Kind::Data);
            let body: Vec<u8> = body.flat_map(|(_, payload)| payload.clone()).collect();
            assert_eq!(body, data.payload()[..], "the echo of the data");
        }
        Frame::Ping(ping) => {
            let answer = ours.expect("a ping");
            let pong = answer
                .first()
                .map(|(header, payload)| (header.kind, &payload[..]));
            let expected = (!ping.is_ack()).then_some((Kind::Ping, &ping.payload()[..]));
            assert_eq!(pong, expected);
        }
        Frame::Settings(settings) => {
            let answer = ours.expect("settings");
            assert_eq!(answer.len(), usize::from(!settings.is_ack()));
        }
        Frame::Reset(reset) if reset.stream_id() == 1 => {
            assert!(ours.expect("a reset").is_empty());
            assert_eq!(peer.service.open(), 0);
        }
        Frame::WindowUpdate(update) if update.stream_id() == 0 => {
            // The window is 65,535 to begin with.
            let fits = update.size_increment() <= i32::MAX as u32 - 65_535;
            assert_eq!(ours.is_ok(), fits);
        }
        Frame::WindowUpdate(update) if update.stream_id() == 1 => {
            let fits = update.size_increment() <= i32::MAX as u32 - 65_535;
            assert_eq!(ours.expect("a window of a stream").is_empty(), fits);
        }
        Frame::GoAway(_) => assert!(ours.expect("a farewell").is_empty()),
        Frame::PushPromise(_) => assert!(ours.is_err()),
        Frame::Data(_)
        | Frame::Headers(_)
        | Frame::Priority(_)
        | Frame::Reset(_)
        | Frame::WindowUpdate(_) => {}
    }
}

struct Peer {
    connection: Connection<Scripted>,
    service: Arc<Scripted>,
    now: Instant,
}

impl Peer {
    fn new() -> Self {
        let service = Arc::new(Scripted::default());
        let bounds = Bounds {
            streams: 4,
            header_bytes: 1 << 20,
        };
        let now = Instant::now();
        let mut peer = Self {
            connection: Connection::new(Arc::clone(&service), bounds, now),
            service,
            now,
        };
        let mut bytes = PREFACE.to_vec();
        frame::put_settings(&mut bytes, &[]);
        for (stream, path, flags) in [(1, "/echo", 0), (3, "/now", END_STREAM)] {
            let block = request(path);
            let flags = END_HEADERS | flags;
            frame::put_header(&mut bytes, block.len(), Kind::Headers, flags, stream);
            bytes.extend(block);
        }
        peer.send(&bytes).expect("two requests");
        peer
    }

    fn send(&mut self, bytes: &[u8]) -> Result<Frames, ErrorCode> {
        let received = self.connection.receive(bytes, self.now);
        received.map_err(|failure| failure.code)?;
        let mut out = Vec::new();
        loop {
            let mut cx = Context::from_waker(Waker::noop());
            self.connection.drive(&mut cx, self.now);
            let before = out.len();
            let written = self
                .connection
                .output
                .poll_write(&mut out, &mut cx, &mut false);
            assert!(matches!(written, Poll::Ready(Ok(()))));
            if out.len() == before {
                return Ok(frames(&out));
            }
        }
    }
}
