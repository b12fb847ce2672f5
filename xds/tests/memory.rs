//! What clients cost, in memory: a process of its own, one test at a time.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests, too, fail by panicking"
)]

#[path = "ads/control_plane.rs"]
#[expect(dead_code, reason = "made for clients that behave")]
mod control_plane;
#[path = "bounds/nodes.rs"]
mod nodes;
#[path = "bounds/reports.rs"]
mod reports;
#[path = "bounds/streams.rs"]
mod streams;
#[path = "bounds/stuck.rs"]
mod stuck;
#[path = "bounds/wire.rs"]
#[expect(dead_code, reason = "made for more misbehaviour than this")]
mod wire;

use std::fs;

use tokio::sync::Mutex;

/// Held by the test that looks at the process's memory.
static ALONE: Mutex<()> = Mutex::const_new(());

/// Of this process, in bytes.
fn resident() -> usize {
    memory("VmRSS:")
}

/// The most that was resident at any time, in bytes.
fn peak() -> usize {
    memory("VmHWM:")
}

fn memory(what: &str) -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(what));
    let kilobytes = line.unwrap().split_whitespace().nth(1).unwrap();
    kilobytes.parse::<usize>().unwrap() * 1024
}
