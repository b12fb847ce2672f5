//! Health alarms of the bake.

mod write_probe;

pub(crate) use write_probe::{ProbeSettings, WriteProbe};
