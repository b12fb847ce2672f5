//! Whole connections: a client's bytes, cut anywhere, against a socket that takes what it
//! likes.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use tokio::{io::AsyncWrite, time::Instant};

use super::{
    client::{Client, frames},
    script::{Script, Step},
    service::Scripted,
};
use crate::http2::{
    connection::{Bounds, Connection},
    frame::{HEADER_LENGTH, MAX_PAYLOAD},
};

/// The first byte says how the bytes are cut, the others are a [`Script`].
///
/// # Panics
/// If a rule is broken, or the result depends on the cuts.
pub(crate) fn check(bytes: &[u8]) {
    let Some((&cut, script)) = bytes.split_first() else {
        return;
    };
    let now = Instant::now();
    let whole = Run::new(now).play(script, usize::MAX);
    let cut = Run::new(now).play(script, usize::from(cut % 32) + 1);
    assert_eq!(whole, cut, "the result depends on the cuts");
}

/// What a client gets, and what the connection was ended with.
type Outcome = (Vec<u8>, Option<u32>);

struct Run {
    connection: Connection<Scripted>,
    service: Arc<Scripted>,
    client: Client,
    socket: Socket,
    now: Instant,
    /// What the client has sent and the server has not read.
    unread: Vec<u8>,
    /// How many of the server's bytes the client has looked at, written or not.
    seen: usize,
    failed: Option<u32>,
    /// The server has asked for a sign of life since it last served.
    asked: bool,
}

impl Run {
    fn new(now: Instant) -> Self {
        let service = Arc::new(Scripted::default());
        Self {
            connection: Connection::new(Arc::clone(&service), BOUNDS, now),
            service,
            client: Client::new(),
            socket: Socket::default(),
            now,
            unread: Vec::new(),
            seen: 0,
            failed: None,
            asked: false,
        }
    }

    /// The server gets at most `cut` bytes at a time.
    fn play(mut self, script: &[u8], cut: usize) -> Outcome {
        for step in Script::new(script) {
            match step {
                Step::Send(bytes) => self.unread.extend(bytes),
                Step::Serve { room } => {
                    self.socket.room = room;
                    self.serve(cut);
                }
                Step::Pass(time) => self.now += time,
                Step::Leave if self.failed.is_none() => self.connection.leave(),
                Step::Ping if self.failed.is_none() && !self.asked => {
                    self.asked = true;
                    self.connection.ping();
                }
                Step::Leave | Step::Ping => {}
            }
        }
        self.socket.room = usize::MAX;
        self.serve(cut);
        assert!(self.connection.output.is_empty());
        assert_eq!(self.seen, self.socket.taken.len());
        (self.socket.taken, self.failed)
    }

    /// What the driver does in a turn, several times over.
    fn serve(&mut self, cut: usize) {
        self.asked = false;
        loop {
            self.read(cut);
            let mut cx = Context::from_waker(Waker::noop());
            self.connection.drive(&mut cx, self.now);
            self.check_bounds();
            self.look();
            let full = self.connection.is_full();
            let mut written = false;
            let output = &mut self.connection.output;
            let polled = output.poll_write(&mut self.socket, &mut cx, &mut written);
            let abandoned = self.connection.abandon(self.now);
            if polled.is_pending() || !full && !abandoned && self.unread.is_empty() {
                return;
            }
            if self.connection.has_left() {
                self.unread.clear();
            }
        }
    }

    fn read(&mut self, cut: usize) {
        while !self.unread.is_empty() && !self.connection.is_full() && !self.connection.has_left() {
            let rest = self.unread.split_off(self.unread.len().min(TURN));
            let turn = std::mem::replace(&mut self.unread, rest);
            for piece in pieces(&turn, cut) {
                self.client.sends(piece);
                let received = self.connection.receive(piece, self.now);
                self.check_bounds();
                if let Err(failure) = received {
                    self.connection.fail(failure);
                    self.failed = Some(failure.code as u32);
                    assert!(self.connection.has_left());
                    assert_eq!(self.service.open(), 0, "a request is left behind");
                    self.unread.clear();
                    return;
                }
            }
        }
    }

    fn check_bounds(&self) {
        assert!(self.service.open() <= BOUNDS.streams as usize);
        assert!(
            self.connection.held() <= HELD,
            "{} bytes",
            self.connection.held()
        );
        assert!(
            self.connection.output.len() <= WAITING,
            "{} bytes",
            self.connection.output.len()
        );
    }

    /// Lets the client look at what is framed now: later its windows may be smaller.
    fn look(&mut self) {
        let mut waiting = Vec::new();
        for chunk in self.connection.output.chunks() {
            waiting.extend_from_slice(chunk);
        }
        let framed = self.socket.taken.len() + waiting.len();
        let new = waiting.len() - (framed - self.seen);
        for (header, payload) in frames(&waiting[new..]) {
            self.client.receives(header, &payload);
        }
        self.seen = framed;
        if self.failed.is_some() {
            assert_eq!(self.client.farewell, self.failed, "the client is told why");
        }
    }
}

/// Cuts bytes into pieces of that size. After a while, which is longer than most frames, the
/// pieces become larger.
fn pieces(mut bytes: &[u8], size: usize) -> impl Iterator<Item = &[u8]> {
    let mut count = 0;
    std::iter::from_fn(move || {
        count += 1;
        let size = if count < 100 {
            size
        } else {
            size.saturating_mul(61)
        };
        let (piece, rest) = bytes.split_at(bytes.len().min(size));
        bytes = rest;
        (!piece.is_empty()).then_some(piece)
    })
}

/// Takes as much as there is room.
#[derive(Debug, Default)]
struct Socket {
    taken: Vec<u8>,
    room: usize,
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let length = bytes.len().min(self.room);
        if length == 0 {
            return Poll::Pending;
        }
        self.room -= length;
        self.taken.extend_from_slice(&bytes[..length]);
        Poll::Ready(Ok(length))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut written = 0;
        for slice in slices {
            match self.as_mut().poll_write(cx, slice) {
                Poll::Ready(Ok(length)) if length == slice.len() => written += length,
                Poll::Ready(Ok(length)) => return Poll::Ready(Ok(written + length)),
                Poll::Pending if written > 0 => break,
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

const BOUNDS: Bounds = Bounds {
    streams: 3,
    header_bytes: 2_000,
};
/// What is read before requests are driven and the socket is written to, in bytes.
const TURN: usize = 8_192;
/// The memory for frames and header sections that are not complete, in bytes. It may be twice
/// as large as what is in it.
const HELD: usize =
    2 * (HEADER_LENGTH + MAX_PAYLOAD + TURN + BOUNDS.header_bytes as usize + MAX_PAYLOAD);
/// What waits for the socket at most, in bytes: two of the largest frames, and an answer to
/// each of the smallest frames that fit into a turn.
const WAITING: usize = 2 * (HEADER_LENGTH + MAX_PAYLOAD) + 2 * TURN;
