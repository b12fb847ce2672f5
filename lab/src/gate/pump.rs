//! What happens to the bytes of one connection.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::future::join;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    time::sleep,
};

use super::controls::{Controls, Mode, cut};

/// The buffer of one direction of a connection, in bytes.
const CHUNK: usize = 64 * 1024;

/// One connection through the gate, with the gate's controls and counters.
pub(super) struct Connection {
    pub(super) controls: watch::Receiver<Controls>,
    /// How many cuts there had been when it was opened.
    pub(super) cuts: u64,
    pub(super) caught: watch::Sender<u64>,
    /// Bytes from the server.
    pub(super) received: Arc<AtomicU64>,
}

impl Connection {
    /// Relays between `client` and `server` until both are done or the gate cuts the connection.
    pub(super) async fn relay(self, client: TcpStream, server: TcpStream) {
        // Without it small messages wait for one another. A failure only makes the gate slower.
        let _ = client.set_nodelay(true);
        let _ = server.set_nodelay(true);
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        let answers_held = AtomicBool::new(false);
        let lost = AtomicBool::new(false);
        let requests = Requests {
            controls: self.controls.clone(),
            caught: self.caught,
            answers_held: &answers_held,
            lost: &lost,
            scanner: Scanner::default(),
            delays: 0,
        };
        let answers = Answers {
            controls: self.controls.clone(),
            held: &answers_held,
            lost: &lost,
            received: &self.received,
        };
        tokio::select! {
            () = cut(self.controls, self.cuts) => {}
            _ = join(
                requests.pump(from_client, to_server),
                answers.pump(from_server, to_client),
            ) => {}
        }
    }
}

/// Reads and throws away until the gate cuts the connection.
pub(super) async fn swallow(mut client: TcpStream, controls: watch::Receiver<Controls>, cuts: u64) {
    let reading = async {
        let mut sink = tokio::io::sink();
        // Even a client that has closed its side gets no answer.
        let _ = tokio::io::copy(&mut client, &mut sink).await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = cut(controls, cuts) => {}
        () = reading => {}
    }
}

/// What becomes of a chunk.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Action {
    Forward,
    Swallow,
}

/// The direction from the client to the server.
struct Requests<'a> {
    controls: watch::Receiver<Controls>,
    caught: watch::Sender<u64>,
    answers_held: &'a AtomicBool,
    /// Bytes of this connection were swallowed: nothing passes behind them.
    lost: &'a AtomicBool,
    scanner: Scanner,
    delays: u64,
}

impl Requests<'_> {
    async fn pump(mut self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
        let mut buffer = vec![0; CHUNK];
        loop {
            // A connection that breaks and one that ends are the same to the other side.
            let read = from.read(&mut buffer).await.unwrap_or(0);
            let action = match self.action(&buffer[..read]).await {
                Action::Forward if self.lost.load(Ordering::Acquire) => Action::Swallow,
                action @ (Action::Forward | Action::Swallow) => action,
            };
            match action {
                Action::Swallow if read == 0 => return std::future::pending().await,
                Action::Swallow => self.lost.store(true, Ordering::Release),
                Action::Forward if read == 0 => break,
                Action::Forward => {
                    self.delay().await;
                    if to.write_all(&buffer[..read]).await.is_err() {
                        break;
                    }
                }
            }
        }
        // The server may be gone already.
        let _ = to.shutdown().await;
    }

    async fn action(&mut self, chunk: &[u8]) -> Action {
        let mode = self.controls.borrow_and_update().mode.clone();
        match mode {
            Mode::HoldRequest(pattern) if self.scanner.sees(&pattern, chunk) => {
                self.tell_caught();
                let passes = |controls: &Controls| !matches!(controls.mode, Mode::HoldRequest(_));
                let released = self.controls.wait_for(passes).await;
                match released.map(|controls| controls.mode.clone()) {
                    Ok(Mode::Pass | Mode::HoldAnswer(_)) => Action::Forward,
                    Ok(_) | Err(_) => Action::Swallow,
                }
            }
            Mode::HoldAnswer(pattern) if self.scanner.sees(&pattern, chunk) => {
                // Before the request goes out: its answer could otherwise come first.
                self.answers_held.store(true, Ordering::Release);
                self.tell_caught();
                Action::Forward
            }
            Mode::Pass | Mode::HoldRequest(_) | Mode::HoldAnswer(_) => Action::Forward,
            Mode::BlackHole | Mode::Severed => Action::Swallow,
        }
    }

    async fn delay(&mut self) {
        let at_most = self.controls.borrow().delay;
        if at_most.is_zero() {
            return;
        }
        self.delays += 1;
        // Knuth's multiplicative hash: spread out, and the same in each run.
        let spread = self.delays.wrapping_mul(2_654_435_761) >> 16;
        let whole = u64::try_from(at_most.as_millis()).unwrap_or(u64::MAX);
        sleep(Duration::from_millis(spread % whole.saturating_add(1))).await;
    }

    fn tell_caught(&self) {
        self.caught.send_modify(|count| *count += 1);
    }
}

/// The direction from the server to the client.
struct Answers<'a> {
    controls: watch::Receiver<Controls>,
    held: &'a AtomicBool,
    lost: &'a AtomicBool,
    received: &'a AtomicU64,
}

impl Answers<'_> {
    async fn pump(mut self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
        let mut buffer = vec![0; CHUNK];
        loop {
            let read = from.read(&mut buffer).await.unwrap_or(0);
            self.received.fetch_add(read as u64, Ordering::Relaxed);
            if self.held.load(Ordering::Acquire) {
                let passes = |controls: &Controls| !matches!(controls.mode, Mode::HoldAnswer(_));
                if self.controls.wait_for(passes).await.is_err() {
                    return;
                }
                self.held.store(false, Ordering::Release);
            }
            let mode = self.controls.borrow_and_update().mode.clone();
            let swallows = matches!(mode, Mode::BlackHole | Mode::Severed);
            match (swallows || self.lost.load(Ordering::Acquire), read) {
                (true, 0) => return std::future::pending().await,
                (true, _) => self.lost.store(true, Ordering::Release),
                (false, 0) => break,
                (false, _) => {
                    if to.write_all(&buffer[..read]).await.is_err() {
                        break;
                    }
                }
            }
        }
        // The client may be gone already.
        let _ = to.shutdown().await;
    }
}

/// Finds a pattern in a stream that comes in chunks.
#[derive(Debug, Default)]
struct Scanner {
    /// The end of what went before, shorter than the pattern.
    tail: Vec<u8>,
}

impl Scanner {
    /// Whether `chunk` completes `pattern`. The empty pattern is in every chunk.
    fn sees(&mut self, pattern: &[u8], chunk: &[u8]) -> bool {
        if pattern.is_empty() {
            return true;
        }
        self.tail.extend_from_slice(chunk);
        let found = self.tail.windows(pattern.len()).any(|seen| seen == pattern);
        let keep = self.tail.len().min(pattern.len() - 1);
        self.tail.drain(..self.tail.len() - keep);
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_found_across_chunks() {
        let mut scanner = Scanner::default();
        assert!(!scanner.sees(b"pg_promote", b"SELECT pg_pro"));
        assert!(scanner.sees(b"pg_promote", b"mote(false)"));
    }

    #[test]
    fn a_pattern_is_found_once() {
        let mut scanner = Scanner::default();
        assert!(scanner.sees(b"aa", b"aa"));
        assert!(!scanner.sees(b"aa", b"b"));
    }

    #[test]
    fn the_empty_pattern_is_in_every_chunk() {
        assert!(Scanner::default().sees(b"", b"x"));
    }
}
