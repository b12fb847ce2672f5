//! A connection on its socket: one future, driven by one task.

mod scratch;

use std::{
    future::Future,
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

/// How connections are kept, and how long a client may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// Until the first request.
    pub(crate) first_request: Duration,
    /// Of silence, before the client is asked for a sign of life.
    pub(crate) keepalive_interval: Duration,
    /// For the sign of life.
    pub(crate) keepalive_timeout: Duration,
    /// For the socket to take anything of what waits for it.
    pub(crate) write: Duration,
    /// For requests to end once no new ones are taken.
    pub(crate) drain: Duration,
}

/// Tells all connections of a server that it is to end.
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

/// Serves one client until it leaves or has to.
pub(crate) struct Driver<IO, S> {
    io: IO,
    connection: Connection<S>,
    patience: Patience,
    stop: Arc<Stop>,
    registration: WakerRegistration,
    timer: Pin<Box<Sleep>>,
    opened: Instant,
    /// When the client's last sign of life came.
    heard: Instant,
    /// Since when it is asked for one.
    asked: Option<Instant>,
    /// Since when the socket has taken nothing of what waits for it.
    stalled: Option<Instant>,
    /// When it is over, whatever is still open.
    end: Option<Instant>,
    /// When no more requests are taken.
    retires: Option<Instant>,
}

impl<IO: AsyncRead + AsyncWrite + Unpin, S: Service> Driver<IO, S> {
    /// `age` is how long the connection takes requests, if that is bounded.
    pub(crate) fn new(
        io: IO,
        service: Arc<S>,
        bounds: Bounds,
        patience: Patience,
        age: Option<Duration>,
        stop: Arc<Stop>,
    ) -> Self {
        let now = Instant::now();
        Self {
            io,
            connection: Connection::new(service, bounds, now),
            patience,
            registration: WakerRegistration::new(stop.waker.clone()),
            stop,
            timer: Box::pin(sleep_until(now + patience.first_request)),
            opened: now,
            heard: now,
            asked: None,
            stalled: None,
            end: None,
            retires: age.map(|age| now + age),
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

    /// Reads, drives the requests and writes until the socket has nothing or takes nothing, or
    /// it is the turn of others.
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

    /// A client that does not take what waits for it is not read from. Of one that sends
    /// without pause, no more is read than what is left of its `turn`.
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
                Poll::Ready(_) => return ControlFlow::Break(()),
                Poll::Pending => break,
            }
            *turn -= buffer.filled().len();
            self.heard = now;
            self.asked = None;
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
                if self.stalled.take().is_some() {
                    self.heard = now;
                }
                ControlFlow::Continue(Poll::Ready(()))
            }
            Poll::Ready(Err(_)) => ControlFlow::Break(()),
            Poll::Pending => {
                if written || self.stalled.is_none() {
                    self.stalled = Some(now);
                }
                ControlFlow::Continue(Poll::Pending)
            }
        }
    }

    /// When something must be done although nothing has happened.
    fn due(&self) -> Instant {
        let silence = match (self.stalled, self.asked) {
            // Whether it is alive, what waits for it will show.
            (Some(since), _) => since + self.patience.write,
            (None, Some(since)) => since + self.patience.keepalive_timeout,
            (None, None) => self.heard + self.patience.keepalive_interval,
        };
        let others = [
            self.first_due(),
            self.end,
            self.retires,
            self.connection.deadline(),
        ];
        others.into_iter().flatten().fold(silence, Instant::min)
    }

    /// When the first request must have come. What leaves already waits for none.
    fn first_due(&self) -> Option<Instant> {
        let waits = !self.connection.has_served() && self.end.is_none();
        waits.then(|| self.opened + self.patience.first_request)
    }

    /// Does what is due.
    fn expire(&mut self, now: Instant) -> ControlFlow<()> {
        let Patience {
            first_request: _,
            keepalive_interval,
            keepalive_timeout,
            write,
            drain: _,
        } = self.patience;
        let passed = |since: Option<Instant>, time| since.is_some_and(|since| since + time <= now);
        if passed(self.stalled, write)
            || (self.stalled.is_none() && passed(self.asked, keepalive_timeout))
            || self.end.is_some_and(|end| end <= now)
        {
            debug!("a connection is given up: its client does not answer");
            return ControlFlow::Break(());
        }
        if self.first_due().is_some_and(|due| due <= now) {
            self.leave(now);
        }
        if self.retires.take_if(|retires| *retires <= now).is_some() {
            self.leave(now);
        }
        if self.stalled.is_none() && self.asked.is_none() && self.heard + keepalive_interval <= now
        {
            self.connection.ping();
            self.asked = Some(now);
        }
        ControlFlow::Continue(())
    }

    fn leave(&mut self, now: Instant) {
        self.connection.leave();
        self.end.get_or_insert(now + self.patience.drain);
    }

    /// Waits until `due`, or wakes too early: an armed timer is moved forward in time only
    /// when it has rung, which is far less often than something happens.
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
