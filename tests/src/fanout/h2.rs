//! The same server on the `h2` crate: discovery, streams, wakers and encoded responses are those
//! of `pointsman-xds`, only the HTTP/2 below them is another. As in `pointsman-xds`, one task
//! drives a connection with all its streams. It takes no part in a graceful stop.

mod gate;
mod stream;

use std::future::{Future, poll_fn};
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake};

use bytes::Bytes;
use h2::server::{Builder, Connection};
use h2::{Ping, PingPong};
use pointsman_xds::foreign::{Bounds, ForeignHttp2, Service, Timeouts};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use self::gate::{Gate, Heard};
use self::stream::Stream;

/// Serves connections by the `h2` crate.
#[derive(Debug)]
pub(super) struct OverH2;

impl ForeignHttp2 for OverH2 {
    fn serve(
        &self,
        socket: TcpStream,
        service: Arc<dyn Service>,
        bounds: Bounds,
        timeouts: Timeouts,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(serve(socket, service, bounds, timeouts))
    }
}

async fn serve(socket: TcpStream, service: Arc<dyn Service>, bounds: Bounds, timeouts: Timeouts) {
    let heard = Arc::new(AtomicBool::new(false));
    let io = Heard::new(socket, Arc::clone(&heard));
    let handshake = Builder::new()
        .max_concurrent_streams(bounds.streams)
        .max_header_list_size(bounds.header_bytes)
        // Without a table an idle connection remembers no header fields.
        .header_table_size(0)
        // Newer content takes the place of what is not yet framed.
        .max_send_buffer_size(SEND_BUFFER)
        .handshake(io);
    // On the heap only while it lasts: afterwards the task needs no memory for it.
    let handshake = timeout(timeouts.first_request, Box::pin(handshake));
    let Ok(Ok(connection)) = handshake.await else {
        return;
    };
    let mut served = Served::new(connection, service, timeouts, heard);
    poll_fn(|cx| served.poll(cx)).await;
}

/// A connection whose settings are exchanged.
struct Served {
    connection: Connection<Heard, Bytes>,
    service: Arc<dyn Service>,
    streams: Vec<Stream>,
    /// Which of the two has been woken. They wake each other all the time, and the task does
    /// not have to be scheduled for that.
    connection_gate: Arc<Gate>,
    stream_gate: Arc<Gate>,
    pings: Option<PingPong>,
    timeouts: Timeouts,
    timer: Pin<Box<Sleep>>,
    opened_at: Instant,
    has_served: bool,
    /// Bytes have come since it was last looked at.
    heard: Arc<AtomicBool>,
    /// When the client's last sign of life came.
    heard_at: Instant,
    /// When the PING was sent that it has not answered.
    ping_sent_at: Option<Instant>,
}

impl Served {
    fn new(
        mut connection: Connection<Heard, Bytes>,
        service: Arc<dyn Service>,
        timeouts: Timeouts,
        heard: Arc<AtomicBool>,
    ) -> Self {
        let now = Instant::now();
        Self {
            pings: connection.ping_pong(),
            connection,
            service,
            streams: Vec::new(),
            connection_gate: Arc::default(),
            stream_gate: Arc::default(),
            timeouts,
            timer: Box::pin(sleep_until(now + timeouts.first_request)),
            opened_at: now,
            has_served: false,
            heard,
            heard_at: now,
            ping_sent_at: None,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let connection_waker = self.connection_gate.enter(cx.waker());
        let stream_waker = self.stream_gate.enter(cx.waker());
        let mut now = Instant::now();
        for _ in 0..TURNS {
            if self.connection_gate.take() {
                let mut cx = Context::from_waker(&connection_waker);
                if self.poll_connection(&mut cx, now).is_break() {
                    return Poll::Ready(());
                }
            }
            if self.stream_gate.take() {
                let mut cx = Context::from_waker(&stream_waker);
                self.streams.retain_mut(|stream| stream.drive(&mut cx, now));
            }
            if self.connection_gate.is_woken() || self.stream_gate.is_woken() {
                continue;
            }
            if let Poll::Ready(due) = self.poll_timer(cx) {
                now = Instant::now();
                if due <= now && self.expire(now).is_break() {
                    return Poll::Ready(());
                }
                continue;
            }
            if self.connection_gate.leave() && self.stream_gate.leave() {
                return Poll::Pending;
            }
            self.connection_gate.enter(cx.waker());
        }
        // It is the turn of others.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn poll_connection(&mut self, cx: &mut Context<'_>, now: Instant) -> ControlFlow<()> {
        while let Poll::Ready(accepted) = self.connection.poll_accept(cx) {
            let Some(Ok((request, respond))) = accepted else {
                return ControlFlow::Break(());
            };
            self.has_served = true;
            if self.streams.is_empty() {
                // Most connections carry one.
                self.streams.reserve_exact(1);
            }
            let stream = Stream::open(&*self.service, request, respond, now);
            self.streams.push(stream);
            self.stream_gate.wake_by_ref();
        }
        if self.heard.swap(false, Ordering::Relaxed) {
            self.heard_at = now;
            self.ping_sent_at = None;
        }
        ControlFlow::Continue(())
    }

    /// Returns what was due when the timer has rung. An armed timer is moved forward in time only
    /// then, which is far less often than something happens.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<Instant> {
        let due = self.due();
        if due < self.timer.deadline() || self.timer.is_elapsed() {
            self.timer.as_mut().reset(due);
        }
        self.timer.as_mut().poll(cx).map(|()| due)
    }

    /// When something must be done although nothing has happened.
    fn due(&self) -> Instant {
        let silence = self.ping_sent_at.map_or_else(
            || self.heard_at + self.timeouts.keepalive_interval,
            |at| at + self.timeouts.keepalive_timeout,
        );
        let first = (!self.has_served).then(|| self.opened_at + self.timeouts.first_request);
        let deadlines = self.streams.iter().filter_map(Stream::deadline);
        deadlines.chain(first).fold(silence, Instant::min)
    }

    /// Does what is due.
    fn expire(&mut self, now: Instant) -> ControlFlow<()> {
        let Timeouts {
            first_request,
            keepalive_interval,
            keepalive_timeout,
            ..
        } = self.timeouts;
        let silent = self
            .ping_sent_at
            .is_some_and(|at| at + keepalive_timeout <= now);
        if silent || !self.has_served && self.opened_at + first_request <= now {
            return ControlFlow::Break(());
        }
        if self.ping_sent_at.is_none() && self.heard_at + keepalive_interval <= now {
            self.ping_sent_at = Some(now);
            // One that was not answered is on its way still, and this one need not be.
            if let Some(pings) = &mut self.pings {
                pings.send_ping(Ping::opaque()).ok();
            }
        }
        // Streams may be due as well.
        self.stream_gate.wake_by_ref();
        ControlFlow::Continue(())
    }
}

/// What is framed ahead of the socket, in bytes.
const SEND_BUFFER: usize = 16_384;
/// How often a connection and its streams may wake each other before others are served.
const TURNS: usize = 16;
