use std::{
    net::SocketAddr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;
use tracing::{debug, warn};

use super::HandshakeError;

/// Logs and counts failed handshakes. The number of log lines per time is limited.
#[derive(Debug, Default)]
pub(super) struct FailedHandshakes {
    count: AtomicU64,
    window: Mutex<Option<Window>>,
}

#[derive(Debug)]
struct Window {
    began: Instant,
    lines: u32,
    unsaid: u64,
}

impl FailedHandshakes {
    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    pub(super) fn report(&self, address: SocketAddr, error: &HandshakeError) {
        if error.is_disconnect() {
            debug!(%address, "a connection was given up: {error}");
            return;
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        if let Some(unsaid) = self.admit(Instant::now()) {
            warn!(%address, unsaid, "a connection is refused: {error}");
        }
    }

    /// `None` if no line may be logged now; otherwise the number of failures without a line since the
    /// last one.
    fn admit(&self, now: Instant) -> Option<u64> {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let mut unsaid = 0;
        let current = match &mut *window {
            Some(current) if now.duration_since(current.began) < WINDOW => current,
            ended => {
                unsaid = ended.as_ref().map_or(0, |ended| ended.unsaid);
                ended.insert(Window {
                    began: now,
                    lines: 0,
                    unsaid: 0,
                })
            }
        };
        if current.lines == LINES {
            current.unsaid += 1;
            return None;
        }
        current.lines += 1;
        Some(unsaid)
    }
}

const WINDOW: Duration = Duration::from_secs(10);
const LINES: u32 = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_failures_is_counted_and_rarely_logged() {
        let failures = FailedHandshakes::default();
        let start = Instant::now();
        let said = (0..1_000).filter_map(|_| failures.admit(start)).count();
        assert_eq!(said, LINES as usize);
        assert_eq!(failures.admit(start + WINDOW), Some(1_000 - 20));
        assert_eq!(failures.admit(start + WINDOW), Some(0));
    }
}
