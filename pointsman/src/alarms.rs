//! Health alarms of the bake.

mod connect_failures;
mod ticks;
mod write_probe;

pub(crate) use connect_failures::{ConnectFailureSettings, ConnectFailures};
pub(crate) use write_probe::{ProbeSettings, WriteProbe};
