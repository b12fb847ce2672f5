//! What happens to the bytes of one connection.

use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::join;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};

use super::Mode;

/// What is held of one direction of a connection, apart from the kernel's own buffers.
const CHUNK: usize = 64 * 1024;

/// Relays between `client` and `server` until both are done or the gate cuts the connection.
pub(super) async fn relay(
    client: TcpStream,
    server: TcpStream,
    mode: watch::Receiver<Mode>,
    caught: watch::Sender<u64>,
) {
    // Small messages must not wait for one another; without this the gate only gets slower.
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let answers_held = AtomicBool::new(false);
    let requests = Requests {
        mode: mode.clone(),
        caught,
        answers_held: &answers_held,
        scanner: Scanner::default(),
    };
    tokio::select! {
        () = cut(mode.clone()) => {}
        _ = join(
            requests.pump(from_client, to_server),
            answers(from_server, to_client, mode, &answers_held),
        ) => {}
    }
}

/// Reads and throws away until the gate cuts the connection.
pub(super) async fn swallow(mut client: TcpStream, mode: watch::Receiver<Mode>) {
    let reading = async {
        let mut sink = tokio::io::sink();
        // Even a client that has closed its side gets no answer.
        let _ = tokio::io::copy(&mut client, &mut sink).await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = cut(mode) => {}
        () = reading => {}
    }
}

/// Returns when a connection may live no longer: the gate is severed, or it has been a black
/// hole, in which bytes were lost, and is none any more.
async fn cut(mut mode: watch::Receiver<Mode>) {
    let mut swallowed = false;
    loop {
        match *mode.borrow_and_update() {
            Mode::Severed => return,
            Mode::BlackHole => swallowed = true,
            Mode::Pass | Mode::HoldRequest(_) | Mode::HoldAnswer(_) if swallowed => return,
            Mode::Pass | Mode::HoldRequest(_) | Mode::HoldAnswer(_) => {}
        }
        if mode.changed().await.is_err() {
            return;
        }
    }
}

/// What becomes of a chunk.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fate {
    Forward,
    Swallow,
}

/// The direction from the client to the server.
struct Requests<'a> {
    mode: watch::Receiver<Mode>,
    caught: watch::Sender<u64>,
    answers_held: &'a AtomicBool,
    scanner: Scanner,
}

impl Requests<'_> {
    async fn pump(mut self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
        let mut buffer = vec![0; CHUNK];
        loop {
            // A connection that breaks and one that ends are the same to the other side.
            let read = from.read(&mut buffer).await.unwrap_or(0);
            match self.fate(&buffer[..read]).await {
                Fate::Swallow if read == 0 => return std::future::pending().await,
                Fate::Swallow => {}
                Fate::Forward if read == 0 => break,
                Fate::Forward => {
                    if to.write_all(&buffer[..read]).await.is_err() {
                        break;
                    }
                }
            }
        }
        // The server may be gone already.
        let _ = to.shutdown().await;
    }

    async fn fate(&mut self, chunk: &[u8]) -> Fate {
        let mode = self.mode.borrow_and_update().clone();
        match mode {
            Mode::HoldRequest(pattern) if self.scanner.sees(&pattern, chunk) => {
                self.tell_caught();
                let passes = |mode: &Mode| !matches!(mode, Mode::HoldRequest(_));
                match self.mode.wait_for(passes).await.as_deref() {
                    Ok(Mode::Pass | Mode::HoldAnswer(_)) => Fate::Forward,
                    Ok(_) | Err(_) => Fate::Swallow,
                }
            }
            Mode::HoldAnswer(pattern) if self.scanner.sees(&pattern, chunk) => {
                // Before the request goes out, lest its answer come first.
                self.answers_held.store(true, Ordering::Release);
                self.tell_caught();
                Fate::Forward
            }
            Mode::Pass | Mode::HoldRequest(_) | Mode::HoldAnswer(_) => Fate::Forward,
            Mode::BlackHole | Mode::Severed => Fate::Swallow,
        }
    }

    fn tell_caught(&self) {
        self.caught.send_modify(|count| *count += 1);
    }
}

/// The direction from the server to the client.
async fn answers(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut mode: watch::Receiver<Mode>,
    held: &AtomicBool,
) {
    let mut buffer = vec![0; CHUNK];
    loop {
        let read = from.read(&mut buffer).await.unwrap_or(0);
        if held.load(Ordering::Acquire) {
            let passes = |mode: &Mode| !matches!(mode, Mode::HoldAnswer(_));
            if mode.wait_for(passes).await.is_err() {
                return;
            }
            held.store(false, Ordering::Release);
        }
        let swallows = matches!(*mode.borrow_and_update(), Mode::BlackHole | Mode::Severed);
        match (swallows, read) {
            (true, 0) => return std::future::pending().await,
            (true, _) => {}
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
