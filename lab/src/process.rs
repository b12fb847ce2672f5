//! Processes that end with the lab: on drop, on a panic, and when the lab's own process
//! is killed.

mod launch;

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    sync::{
        Mutex,
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

use anyhow::{Context, Result, anyhow};
use tokio::{sync::watch, time::timeout};

pub use self::launch::{Launch, ServerUser};

const TAIL_LINES: usize = 30;

/// How long a process may take to end after its end signal, before it is killed.
const END_DEADLINE: Duration = Duration::from_secs(8);

/// The signals that a lab sends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Signal {
    /// PostgreSQL: fast shutdown.
    Int,
    Kill,
    /// PostgreSQL: immediate shutdown.
    Quit,
    Stop,
    Cont,
    Term,
}

impl Signal {
    fn name(self) -> &'static str {
        match self {
            Self::Int => "INT",
            Self::Kill => "KILL",
            Self::Quit => "QUIT",
            Self::Stop => "STOP",
            Self::Cont => "CONT",
            Self::Term => "TERM",
        }
    }
}

/// Sends `signal` to every process in `pids`; those that are gone already are passed over.
pub fn signal_all(signal: Signal, pids: &[u32]) {
    // The standard library sends no signal but KILL, and `unsafe` code is forbidden here.
    // Best effort by nature: the processes may be ending by themselves.
    let _ = Command::new("sh")
        .args(["-c", "kill -s \"$@\" 2>/dev/null", "sh", signal.name()])
        .args(pids.iter().map(u32::to_string))
        .stdin(Stdio::null())
        .status();
}

/// A process that the lab started.
pub struct Process {
    name: String,
    pid: u32,
    log: PathBuf,
    end_signal: Signal,
    stdout: Option<ChildStdout>,
    status: watch::Receiver<Option<ExitStatus>>,
    gone: Mutex<Receiver<()>>,
}

impl Process {
    /// Looks after `child`, which writes to `log` and is ended by `end_signal`.
    fn watch(name: String, mut child: Child, log: PathBuf, end_signal: Signal) -> Result<Self> {
        let stdout = child.stdout.take();
        let pid = child.id();
        let (tell_status, status) = watch::channel(None);
        let (tell_gone, gone) = mpsc::channel::<()>();
        thread::Builder::new()
            .name(format!("wait {name}"))
            .spawn(move || {
                tell_status.send_replace(child.wait().ok());
                drop(tell_gone);
            })?;
        Ok(Self {
            name,
            pid,
            log,
            end_signal,
            stdout,
            status,
            gone: Mutex::new(gone),
        })
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    #[must_use]
    pub fn is_running(&self) -> bool {
        self.status.borrow().is_none() && self.status.has_changed().is_ok()
    }

    pub(crate) fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.stdout.take()
    }

    /// Sends `signal`, unless the process has ended.
    pub fn signal(&self, signal: Signal) {
        if self.is_running() {
            signal_all(signal, &[self.pid]);
        }
    }

    /// Waits for the end of the process.
    ///
    /// # Errors
    /// When it is still running after `deadline`.
    pub async fn ended(&self, deadline: Duration) -> Result<ExitStatus> {
        let mut status = self.status.clone();
        let ended = timeout(deadline, status.wait_for(Option::is_some))
            .await
            .map_err(|_| {
                anyhow!(
                    "{} (pid {}) was still running after {deadline:?}\n{}",
                    self.name,
                    self.pid,
                    self.log_tail()
                )
            })?
            .with_context(|| format!("{}: how it ended could not be found out", self.name))?;
        ended.with_context(|| format!("{}: no exit status", self.name))
    }

    /// The last lines of its log, headed by where the whole of it stands.
    #[must_use]
    pub fn log_tail(&self) -> String {
        tail(&self.log)
    }

    /// Sends `signal` and waits until the process is gone; kills it at the deadline.
    pub(crate) fn end(&self, signal: Signal) {
        self.signal(signal);
        // A stopped process hears nothing but KILL before it goes on.
        self.signal(Signal::Cont);
        if !self.is_gone_within(END_DEADLINE) {
            signal_all(Signal::Kill, &family(self.pid));
            self.is_gone_within(END_DEADLINE);
        }
    }

    fn is_gone_within(&self, deadline: Duration) -> bool {
        self.gone.lock().is_ok_and(|gone| {
            matches!(
                gone.recv_timeout(deadline),
                Err(RecvTimeoutError::Disconnected)
            )
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.is_running() {
            self.end(self.end_signal);
        }
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process")
            .field("name", &self.name)
            .field("pid", &self.pid)
            .finish_non_exhaustive()
    }
}

/// `pid` and the processes it started itself.
pub(crate) fn family(pid: u32) -> Vec<u32> {
    let mut found = vec![pid];
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    found.extend(
        entries
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(|candidate| parent_of(*candidate) == Some(pid)),
    );
    found
}

fn parent_of(pid: u32) -> Option<u32> {
    stat_fields(pid)?.split_whitespace().nth(1)?.parse().ok()
}

/// What the kernel says of a process: its state, its parent, and more.
fn stat_fields(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command name stands in parentheses and may hold anything, spaces and parentheses too.
    let (_, fields) = stat.rsplit_once(") ")?;
    Some(fields.to_owned())
}

/// The last lines of the file at `path`, headed by the path.
pub(crate) fn tail(path: &Path) -> String {
    let text = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().collect();
    let from = lines.len().saturating_sub(TAIL_LINES);
    format!(
        "--- last lines of {}\n{}",
        path.display(),
        lines[from..].join("\n")
    )
}

/// Whether a process of this number runs; one that has ended and was not yet waited for
/// does not.
#[must_use]
pub fn is_alive(pid: u32) -> bool {
    stat_fields(pid).is_some_and(|fields| !fields.starts_with(['Z', 'X']))
}
