use std::{
    collections::VecDeque,
    fmt, io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_util::Stream;
use tokio::{
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
    time::{Sleep, sleep},
};
use tracing::warn;

use super::{HandshakeError, ServerTls, TlsConnection};

/// The authenticated connections of a listener, for any tonic server. A slow handshake delays no
/// other. [`Self::HANDSHAKES`] of them run at most; one more aborts the oldest.
pub struct TlsIncoming {
    listener: TcpListener,
    tls: Arc<ServerTls>,
    handshakes: JoinSet<Option<TlsConnection<TcpStream>>>,
    /// The handshakes in the order of their beginning. Some may have ended.
    started: VecDeque<(SocketAddr, AbortHandle)>,
    /// Set after the listener has failed, for example because the process has no file handles left.
    pause: Option<Pin<Box<Sleep>>>,
}

impl TlsIncoming {
    /// The maximal number of concurrent handshakes.
    pub const HANDSHAKES: usize = 512;

    #[must_use]
    pub fn new(listener: TcpListener, tls: Arc<ServerTls>) -> Self {
        Self {
            listener,
            tls,
            handshakes: JoinSet::new(),
            started: VecDeque::new(),
            pause: None,
        }
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        match ready!(self.listener.poll_accept(cx)) {
            Ok((stream, address)) => {
                self.make_room();
                let tls = Arc::clone(&self.tls);
                let handshake = self.handshakes.spawn(async move {
                    stream.set_nodelay(true).ok()?;
                    tls.accept(stream, address).await.ok()
                });
                self.started.push_back((address, handshake));
            }
            Err(error) => {
                warn!(%error, "a connection could not be accepted");
                self.pause = Some(Box::pin(sleep(ACCEPT_RETRY_DELAY)));
            }
        }
        Poll::Ready(())
    }

    fn make_room(&mut self) {
        while let Some((address, oldest)) = self.started.front() {
            if !oldest.is_finished() {
                if self.started.len() < Self::HANDSHAKES {
                    return;
                }
                oldest.abort();
                let others = Self::HANDSHAKES;
                let crowded = HandshakeError::Crowded { others };
                self.tls.failures.report(*address, &crowded);
            }
            self.started.pop_front();
        }
    }
}

impl Stream for TlsIncoming {
    type Item = io::Result<TlsConnection<TcpStream>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        while self.poll_accept(cx).is_ready() {}
        loop {
            match ready!(self.handshakes.poll_join_next(cx)) {
                Some(Ok(Some(connection))) => return Poll::Ready(Some(Ok(connection))),
                Some(Ok(None) | Err(_)) => {}
                // No handshake is running; the listener wakes this task.
                None => return Poll::Pending,
            }
        }
    }
}

impl fmt::Debug for TlsIncoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsIncoming")
            .field("listener", &self.listener)
            .finish_non_exhaustive()
    }
}

/// How long nothing is accepted after the listener has failed.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);
