//! Drives a connection on its socket: one future, polled by one task.

mod scratch;

use std::{
    future::Future,
    io::{self, ErrorKind},
    ops::ControlFlow,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};
use tracing::debug;

use self::scratch::{Scratch, TURN};
use super::{
    connection::{Bounds, Connection},
    exchange::Service,
};
use crate::broadcast_waker::{BroadcastWaker, WakerRegistration};

/// How long a client may take.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// Until its first request.
    pub first_request: Duration,
    /// Silence after which the client is sent a PING.
    pub keepalive_interval: Duration,
    /// Until it answers the PING.
    pub keepalive_timeout: Duration,
    /// Until its socket takes any of the bytes that wait.
    pub write: Duration,
    /// Until its open requests end, once no new ones are accepted.
    pub drain: Duration,
}

/// Tells every connection of a server to shut down.
#[derive(Debug, Default)]
pub(crate) struct Stop {
    begun: AtomicBool,
    waker: BroadcastWaker,
}

impl Stop {
    pub(crate) fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Acquire)
    }

    pub(crate) async fn begin(&self) {
        self.begun.store(true, Ordering::Release);
        self.waker.wake_all().await;
    }
}

/// Serves one client until the connection ends.
pub(crate) struct Driver<IO, S> {
    io: IO,
    connection: Connection<S>,
    timeouts: Timeouts,
    stop: Arc<Stop>,
    registration: WakerRegistration,
    timer: Pin<Box<Sleep>>,
    opened_at: Instant,
    /// When the client last sent anything, or took bytes that had waited.
    last_active: Instant,
    /// When the PING was sent that it has not answered.
    ping_sent_at: Option<Instant>,
    /// Since when the socket has taken none of the bytes that wait.
    blocked_since: Option<Instant>,
    /// When the connection is closed although requests are still open.
    closes_at: Option<Instant>,
    /// When it stops accepting requests because of its age.
    retires_at: Option<Instant>,
}

impl<IO: AsyncRead + AsyncWrite + Unpin, S: Service> Driver<IO, S> {
    /// `age` is how long the connection accepts requests; `None` means without limit.
    pub(crate) fn new(
        io: IO,
        service: Arc<S>,
        bounds: Bounds,
        timeouts: Timeouts,
        age: Option<Duration>,
        stop: Arc<Stop>,
    ) -> Self {
        let now = Instant::now();
        Self {
            io,
            connection: Connection::new(service, bounds, now),
            timeouts,
            registration: WakerRegistration::new(stop.waker.clone()),
            stop,
            timer: Box::pin(sleep_until(now + timeouts.first_request)),
            opened_at: now,
            last_active: now,
            ping_sent_at: None,
            blocked_since: None,
            closes_at: None,
            retires_at: age.map(|age| now + age),
        }
    }

    fn run(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Poll<()> {
        let mut now = Instant::now();
        loop {
            if self.advance(cx, now, scratch).is_break() {
                return Poll::Ready(());
            }
            loop {
                let due = self.due();
                ready!(self.poll_timer(due, cx));
                now = Instant::now();
                if due <= now {
                    break;
                }
            }
            if self.expire(now).is_break() {
                return Poll::Ready(());
            }
        }
    }

    /// Reads, drives the requests and writes, until the socket is empty or blocked, or until
    /// other connections must be served.
    fn advance(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        scratch: &mut Scratch,
    ) -> ControlFlow<()> {
        self.registration.register(cx.waker());
        if self.stop.has_begun() {
            self.leave(now);
        }
        let mut turn = TURN;
        loop {
            self.read(cx, now, scratch, &mut turn)?;
            self.connection.drive(cx, now);
            let full = self.connection.is_full();
            if self.write(cx, now)?.is_pending() {
                self.connection.abandon(now);
                return ControlFlow::Continue(());
            }
            if self.connection.has_left() {
                // The client finds out either way.
                let _ = Pin::new(&mut self.io).poll_shutdown(cx);
                return ControlFlow::Break(());
            }
            if !full && !self.connection.abandon(now) {
                return ControlFlow::Continue(());
            }
        }
    }

    /// Reads at most `turn` bytes, and nothing while too much waits for the socket.
    fn read(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        scratch: &mut Scratch,
        turn: &mut usize,
    ) -> ControlFlow<()> {
        while !self.connection.is_full() && !self.connection.has_left() {
            if *turn == 0 {
                cx.waker().wake_by_ref();
                break;
            }
            let mut buffer = ReadBuf::new(&mut scratch.input[..*turn]);
            match Pin::new(&mut self.io).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
                Poll::Ready(Ok(())) => return ControlFlow::Break(()),
                Poll::Ready(Err(error)) => return self.broken(&error),
                Poll::Pending => break,
            }
            *turn -= buffer.filled().len();
            self.last_active = now;
            self.ping_sent_at = None;
            if let Err(failure) = self.connection.receive(buffer.filled(), now) {
                debug!(%failure, "a connection is ended");
                self.connection.fail(failure);
            }
        }
        ControlFlow::Continue(())
    }

    fn write(&mut self, cx: &mut Context<'_>, now: Instant) -> ControlFlow<(), Poll<()>> {
        let mut written = false;
        let output = &mut self.connection.output;
        match output.poll_write(&mut self.io, cx, &mut written) {
            Poll::Ready(Ok(())) => {
                if self.blocked_since.take().is_some() {
                    self.last_active = now;
                }
                ControlFlow::Continue(Poll::Ready(()))
            }
            Poll::Ready(Err(error)) => {
                let _ = self.broken(&error);
                ControlFlow::Break(())
            }
            Poll::Pending => {
                if written || self.blocked_since.is_none() {
                    self.blocked_since = Some(now);
                }
                ControlFlow::Continue(Poll::Pending)
            }
        }
    }

    /// The next deadline.
    fn due(&self) -> Instant {
        let silence = match (self.blocked_since, self.ping_sent_at) {
            // No PING is needed: the bytes that wait show whether the client is alive.
            (Some(since), _) => since + self.timeouts.write,
            (None, Some(since)) => since + self.timeouts.keepalive_timeout,
            (None, None) => self.last_active + self.timeouts.keepalive_interval,
        };
        let others = [
            self.first_due(),
            self.closes_at,
            self.retires_at,
            self.connection.deadline(),
        ];
        others.into_iter().flatten().fold(silence, Instant::min)
    }

    /// The deadline of the first request. A connection that shuts down waits for none.
    fn first_due(&self) -> Option<Instant> {
        let waits = !self.connection.has_served() && self.closes_at.is_none();
        waits.then(|| self.opened_at + self.timeouts.first_request)
    }

    /// Acts on every deadline that has passed.
    fn expire(&mut self, now: Instant) -> ControlFlow<()> {
        let Timeouts {
            first_request: _,
            keepalive_interval,
            keepalive_timeout,
            write,
            drain: _,
        } = self.timeouts;
        let passed = |since: Option<Instant>, time| since.is_some_and(|since| since + time <= now);
        let silent = passed(self.blocked_since, write)
            || (self.blocked_since.is_none() && passed(self.ping_sent_at, keepalive_timeout));
        if silent {
            self.connection.lost();
        }
        if silent || self.closes_at.is_some_and(|end| end <= now) {
            debug!("a connection is given up: its client does not answer");
            return ControlFlow::Break(());
        }
        if self.first_due().is_some_and(|due| due <= now) {
            self.leave(now);
        }
        if self.retires_at.take_if(|at| *at <= now).is_some() {
            self.leave(now);
        }
        if self.blocked_since.is_none()
            && self.ping_sent_at.is_none()
            && self.last_active + keepalive_interval <= now
        {
            self.connection.ping();
            self.ping_sent_at = Some(now);
        }
        ControlFlow::Continue(())
    }

    /// The socket has failed: because the client has closed it, or because nothing is heard of the
    /// client's machine.
    fn broken(&mut self, error: &io::Error) -> ControlFlow<()> {
        if matches!(
            error.kind(),
            ErrorKind::TimedOut
                | ErrorKind::HostUnreachable
                | ErrorKind::NetworkUnreachable
                | ErrorKind::NetworkDown
        ) {
            self.connection.lost();
        }
        ControlFlow::Break(())
    }

    fn leave(&mut self, now: Instant) {
        self.connection.leave();
        self.closes_at.get_or_insert(now + self.timeouts.drain);
    }

    /// Waits until `due`, and may return early. Moving a timer to a later time costs more than a
    /// needless wake-up, so the timer is moved later only once it has fired.
    fn poll_timer(&mut self, due: Instant, cx: &mut Context<'_>) -> Poll<()> {
        if due < self.timer.deadline() || self.timer.is_elapsed() {
            self.timer.as_mut().reset(due);
        }
        self.timer.as_mut().poll(cx)
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin, S: Service> Future for Driver<IO, S> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut scratch = Scratch::take();
        self.connection
            .output
            .lend(std::mem::take(&mut scratch.output));
        let done = self.run(cx, &mut scratch);
        scratch.put(self.connection.output.give_back());
        done
    }
}

#[cfg(test)]
mod tests;
