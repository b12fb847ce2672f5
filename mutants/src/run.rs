#![expect(clippy::disallowed_types, reason = "no clock is paused here")]

use std::{
    fs::{self, File},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

/// What came of a program.
#[derive(Debug)]
pub(crate) enum Ran {
    Passed,
    Failed {
        /// What it printed.
        said: String,
    },
    TimedOut,
}

/// Runs a program to its end, or until `limit`. What it prints goes to `log`: a mutant may print for ever,
/// and nobody would read it meanwhile.
pub(crate) fn run(command: &Command, log: &Path, limit: Duration) -> Result<(Ran, Duration)> {
    let output = File::create(log).with_context(|| format!("write {}", log.display()))?;
    let mut bounded = bounded(command);
    let began = Instant::now();
    let mut child = bounded
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .spawn()?;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if began.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            return Ok((Ran::TimedOut, began.elapsed()));
        }
        thread::sleep(POLL);
    };
    let took = began.elapsed();
    if status.success() {
        return Ok((Ran::Passed, took));
    }
    let said = String::from_utf8_lossy(&fs::read(log)?).into_owned();
    Ok((Ran::Failed { said }, took))
}

/// The same program with a bound for its memory: a mutant may fill all there is.
fn bounded(command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "ulimit -v \"$0\" && exec \"$@\"", MEMORY_KIB])
        .arg(command.get_program())
        .args(command.get_args());
    if let Some(folder) = command.get_current_dir() {
        shell.current_dir(folder);
    }
    let set = command.get_envs();
    shell.envs(set.filter_map(|(name, value)| Some((name, value?))));
    shell
}

const POLL: Duration = Duration::from_millis(20);
const MEMORY_KIB: &str = "8388608";
