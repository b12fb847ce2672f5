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

/// Names the clients that did not prove who they are; somebody who knocks without pause does
/// not fill the log.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    count: AtomicU64,
    window: Mutex<Option<Window>>,
}

#[derive(Debug)]
struct Window {
    began: Instant,
    lines: u32,
    unsaid: u64,
}

impl Refusals {
    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    pub(super) fn report(&self, address: SocketAddr, error: &HandshakeError) {
        if error.is_departure() {
            debug!(%address, "a connection was given up: {error}");
            return;
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        if let Some(unsaid) = self.admit(Instant::now()) {
            warn!(%address, unsaid, "a connection is refused: {error}");
        }
    }

    /// The number of those that were not named since the last line, if there may be one now.
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
    fn a_flood_is_counted_and_not_written_down() {
        let refusals = Refusals::default();
        let start = Instant::now();
        let said = (0..1_000).filter_map(|_| refusals.admit(start)).count();
        assert_eq!(said, LINES as usize);
        assert_eq!(refusals.admit(start + WINDOW), Some(1_000 - 20));
        assert_eq!(refusals.admit(start + WINDOW), Some(0));
    }
}
