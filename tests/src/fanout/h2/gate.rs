//! What a connection needs of its task and its socket: who was woken, and whether something came.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// The waker of a part of a task. It says whether the part has been woken, and wakes the task
/// unless that is being polled.
#[derive(Debug)]
pub(super) struct Gate {
    task: AtomicWaker,
    polling: AtomicBool,
    woken: AtomicBool,
}

impl Default for Gate {
    /// Nothing has been polled yet: the part counts as woken.
    fn default() -> Self {
        Self {
            task: AtomicWaker::new(),
            polling: AtomicBool::new(false),
            woken: AtomicBool::new(true),
        }
    }
}

impl Gate {
    /// The task is being polled. Returns the waker of the part.
    pub(super) fn enter(self: &Arc<Self>, task: &Waker) -> Waker {
        self.task.register(task);
        self.polling.store(true, Ordering::SeqCst);
        Waker::from(Arc::clone(self))
    }

    /// The task ends its poll. Returns false, and it does not, if the part has been woken.
    pub(super) fn leave(&self) -> bool {
        self.polling.store(false, Ordering::SeqCst);
        let woken = self.is_woken();
        if woken {
            self.polling.store(true, Ordering::SeqCst);
        }
        !woken
    }

    /// Whether the part has been woken since the last call. It must be polled after this call.
    pub(super) fn take(&self) -> bool {
        self.is_woken() && self.woken.swap(false, Ordering::SeqCst)
    }

    pub(super) fn is_woken(&self) -> bool {
        self.woken.load(Ordering::SeqCst)
    }
}

impl Wake for Gate {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::SeqCst);
        if !self.polling.load(Ordering::SeqCst) {
            self.task.wake();
        }
    }
}

/// A socket that takes note of every read.
#[derive(Debug)]
pub(super) struct Heard {
    socket: TcpStream,
    heard: Arc<AtomicBool>,
}

impl Heard {
    pub(super) const fn new(socket: TcpStream, heard: Arc<AtomicBool>) -> Self {
        Self { socket, heard }
    }
}

impl AsyncRead for Heard {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.socket).poll_read(cx, buffer);
        if polled.is_ready() {
            self.heard.store(true, Ordering::Relaxed);
        }
        polled
    }
}

impl AsyncWrite for Heard {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
