use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// Logs to stderr; `POINTSMAN_LOG` filters as `RUST_LOG` does elsewhere.
pub(crate) fn init() {
    let filter = EnvFilter::try_from_env("POINTSMAN_LOG").unwrap_or_else(|_unset| {
        // hyper and h2 speak of every connection.
        EnvFilter::new("info")
    });
    // A second call in one process keeps the first.
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .try_init()
        .ok();
}
