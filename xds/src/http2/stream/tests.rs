use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::time::Instant;

use super::*;

struct Silent;

impl Exchange for Silent {
    fn receive(&mut self, _data: &[u8], _now: Instant) {}

    fn finish(&mut self) {}

    fn released(&mut self) -> usize {
        0
    }

    fn poll(&mut self, _cx: &mut Context<'_>, _now: Instant) -> Poll<Part> {
        Poll::Pending
    }

    fn deadline(&self) -> Option<Instant> {
        None
    }
}

fn stream(send_window: i64) -> Stream {
    Stream::new(1, Box::new(Silent), send_window)
}

fn body(pieces: &[usize]) -> Part {
    let mut chunks = Chunks::default();
    for length in pieces {
        chunks.push(Bytes::from(vec![b'x'; *length]));
    }
    Part::Body(chunks)
}

#[test]
fn a_response_waits_for_the_window_of_its_stream() {
    let (mut stream, mut output) = (stream(10), Output::default());
    stream.take(body(&[4, 20]), &mut output);
    let mut connection = 100;
    assert_eq!(stream.flush(&mut output, &mut connection), 1);
    assert_eq!(output.len(), frame::HEADER_LENGTH + 10);
    assert_eq!((stream.send_window, connection), (0, 90));
    assert!(!stream.is_writable(&output));
    stream.send_window += 14;
    assert_eq!(stream.flush(&mut output, &mut connection), 1);
    assert_eq!((stream.send_window, connection), (0, 76));
    assert!(stream.is_writable(&output));
}

#[test]
fn a_response_waits_for_the_window_of_the_connection_and_for_one_below_zero() {
    let (mut first, mut output) = (stream(10), Output::default());
    first.take(body(&[4]), &mut output);
    assert_eq!(first.flush(&mut output, &mut 0), 0);
    first.send_window = -1;
    assert_eq!(first.flush(&mut output, &mut 10), 0);
    assert!(output.is_empty());
}

#[test]
fn a_large_response_is_framed_as_the_socket_takes_it() {
    let (mut stream, mut output) = (stream(1 << 30), Output::default());
    stream.take(body(&[5 << 20]), &mut output);
    let mut connection = 1 << 30;
    stream.flush(&mut output, &mut connection);
    assert_eq!(output.len(), frame::HEADER_LENGTH + MAX_PAYLOAD);
    assert_eq!(stream.flush(&mut output, &mut connection), 0);
}

#[test]
fn the_end_comes_after_the_body() {
    let (mut stream, mut output) = (stream(2), Output::default());
    stream.take(body(&[4]), &mut output);
    stream.take(Part::End(vec![0x88]), &mut output);
    stream.flush(&mut output, &mut 100);
    assert!(!stream.done);
    stream.send_window += 2;
    stream.flush(&mut output, &mut 100);
    assert!(stream.done);
}

#[test]
fn a_body_has_the_length_that_was_said() {
    let mut stream = stream(0);
    assert!(stream.measure(100, true));
    stream.expected = Some(5);
    assert!(stream.measure(3, false));
    assert!(!stream.measure(3, false));
    stream.expected = Some(5);
    assert!(!stream.measure(3, true));
    assert!(stream.measure(2, true));
}
