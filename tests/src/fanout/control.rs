//! How the processes of the benchmark talk: commands come in as lines, answers go out as lines.

use std::io::{BufRead, Write, stdin, stdout};
use std::thread;

use anyhow::Context;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, Timespec, clock_gettime};

/// Nanoseconds of the clock that all processes of a machine share.
pub(super) fn now() -> u64 {
    nanoseconds(clock_gettime(ClockId::Monotonic))
}

/// Nanoseconds that this process has spent on processors, in user and in system mode.
pub(super) fn cpu() -> u64 {
    nanoseconds(clock_gettime(ClockId::ProcessCPUTime))
}

/// Hands each line of the standard input to `hear`, on a thread of its own, until the input
/// ends or `hear` wants no more.
pub(super) fn listen(mut hear: impl FnMut(String) -> bool + Send + 'static) {
    thread::spawn(move || {
        for line in stdin().lock().lines() {
            // Input that cannot be read ends the commands.
            let Ok(line) = line else { break };
            if !hear(line) {
                break;
            }
        }
    });
}

/// Writes one line.
///
/// # Errors
/// Nobody reads any more.
pub(super) fn answer(line: &str) -> anyhow::Result<()> {
    writeln!(stdout().lock(), "{line}").context("answering")
}

/// Lets this process have as many connections as it may.
///
/// # Errors
/// The system refuses it.
pub(super) fn open_many_files() -> anyhow::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let limit = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, limit).context("raising the limit of open files")
}

pub(super) fn from_hex(text: &str) -> anyhow::Result<Vec<u8>> {
    let digits = text.as_bytes().chunks(2);
    let bytes = digits.map(|pair| Ok(u8::from_str_radix(str::from_utf8(pair)?, 16)?));
    bytes.collect()
}

pub(super) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn nanoseconds(time: Timespec) -> u64 {
    let Timespec { tv_sec, tv_nsec } = time;
    u64::try_from(tv_sec * 1_000_000_000 + tv_nsec).unwrap_or_default()
}
