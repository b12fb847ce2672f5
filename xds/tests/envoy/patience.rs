use std::time::Duration;

use tokio::time::{interval, timeout};

/// For what only a look can tell.
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let mut looks = interval(Duration::from_millis(10));
    let seen = timeout(DEADLINE, async {
        loop {
            looks.tick().await;
            if let Some(result) = look().await {
                return result;
            }
        }
    });
    seen.await
        .unwrap_or_else(|_| panic!("{what} did not come in {DEADLINE:?}"))
}

/// Above Envoy's 15 s, so that a test can tell that this is what it waited for.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);
