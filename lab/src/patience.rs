//! Waiting for what only a look can tell.

use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::time::{Instant, interval, sleep, timeout};

/// No single wait of a test lasts longer. It is above the 15 s that Envoy waits for a resource,
/// so that a test can tell that it waited for that.
pub const DEADLINE: Duration = Duration::from_secs(20);

const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Looks again and again until there is something to see.
///
/// # Panics
/// If there is nothing after [`DEADLINE`].
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let mut looks = interval(LOOK_AGAIN);
    let seen = timeout(DEADLINE, async {
        loop {
            looks.tick().await;
            if let Some(result) = look().await {
                return result;
            }
        }
    });
    seen.await
        .unwrap_or_else(|_| panic!("not within {DEADLINE:?}: {what}"))
}

/// Looks again and again until `holds`.
///
/// # Errors
/// A look failed, or `holds` is still false after [`DEADLINE`].
pub async fn eventually(what: &str, holds: impl AsyncFn() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + DEADLINE;
    while !holds().await? {
        ensure!(Instant::now() < deadline, "not within {DEADLINE:?}: {what}");
        sleep(LOOK_AGAIN).await;
    }
    Ok(())
}
