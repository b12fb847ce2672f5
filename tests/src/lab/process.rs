//! Processes that end with the lab: on drop, on a panic, and when the lab's own process
//! is killed.

use std::{
    ffi::{OsStr, OsString},
    fmt, fs,
    fs::OpenOptions,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    sync::{
        Mutex, OnceLock,
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail};
use tokio::{sync::watch, time::timeout};

use crate::lab::scratch;

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
pub(crate) fn signal_all(signal: Signal, pids: &[u32]) {
    // The standard library sends no signal but KILL, and `unsafe` code is forbidden here.
    // Best effort by nature: the processes may be ending by themselves.
    let _ = Command::new("sh")
        .args(["-c", "kill -s \"$@\" 2>/dev/null", "sh", signal.name()])
        .args(pids.iter().map(u32::to_string))
        .stdin(Stdio::null())
        .status();
}

/// The user that servers run as when the lab runs as root, which PostgreSQL refuses.
#[derive(Clone, Copy, Debug)]
pub struct ServerUser {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl ServerUser {
    /// `None` when this process is not root: then servers run as the same user.
    pub(crate) fn find() -> Result<Option<Self>> {
        if scratch::own_uid()? != 0 {
            return Ok(None);
        }
        let passwd = fs::read_to_string("/etc/passwd").context("reading /etc/passwd")?;
        ["postgres", "nobody"]
            .iter()
            .find_map(|name| Self::in_passwd(&passwd, name))
            .map(Some)
            .context("running as root, and there is neither a user postgres nor nobody to run PostgreSQL as")
    }

    fn in_passwd(passwd: &str, name: &str) -> Option<Self> {
        let mut fields = passwd
            .lines()
            .map(|line| line.split(':'))
            .find_map(|mut fields| (fields.next() == Some(name)).then_some(fields))?;
        Some(Self {
            uid: fields.nth(1)?.parse().ok()?,
            gid: fields.next()?.parse().ok()?,
        })
    }
}

/// What to start.
#[derive(Debug)]
pub(crate) struct Launch {
    name: String,
    program: PathBuf,
    args: Vec<OsString>,
    log: PathBuf,
    user: Option<ServerUser>,
    end_signal: Signal,
    stdout_piped: bool,
}

impl Launch {
    /// `log` takes what the process says, after what stands there already.
    pub(crate) fn new(name: impl Into<String>, program: impl AsRef<Path>, log: PathBuf) -> Self {
        Self {
            name: name.into(),
            program: program.as_ref().to_path_buf(),
            args: Vec::new(),
            log,
            user: None,
            end_signal: Signal::Kill,
            stdout_piped: false,
        }
    }

    pub(crate) fn arg(self, arg: impl AsRef<OsStr>) -> Self {
        self.args([arg])
    }

    pub(crate) fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args
            .extend(args.into_iter().map(|arg| arg.as_ref().to_os_string()));
        self
    }

    pub(crate) fn user(mut self, user: Option<ServerUser>) -> Self {
        self.user = user;
        self
    }

    /// The signal that ends the process on drop and at the death of the lab's own process.
    pub(crate) fn end_signal(mut self, signal: Signal) -> Self {
        self.end_signal = signal;
        self
    }

    /// Keeps standard output apart from the log, for [`Process::take_stdout`].
    pub(crate) fn pipe_stdout(mut self) -> Self {
        self.stdout_piped = true;
        self
    }

    pub(crate) fn start(self) -> Result<Process> {
        let command = self.command()?;
        let mut child = spawn(command).with_context(|| {
            format!(
                "starting {} ({}); setpriv, of util-linux, is needed to start it",
                self.name,
                self.program.display()
            )
        })?;
        let stdout = child.stdout.take();
        let pid = child.id();
        let (tell_status, status) = watch::channel(None);
        let (tell_gone, gone) = mpsc::channel::<()>();
        thread::Builder::new()
            .name(format!("wait {}", self.name))
            .spawn(move || {
                tell_status.send_replace(child.wait().ok());
                drop(tell_gone);
            })?;
        Ok(Process {
            name: self.name,
            pid,
            log: self.log,
            end_signal: self.end_signal,
            stdout,
            status,
            gone: Mutex::new(gone),
        })
    }

    fn command(&self) -> Result<Command> {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)
            .with_context(|| format!("opening {}", self.log.display()))?;
        // setpriv gives up root's rights and has the kernel signal the child when its
        // parent dies: neither can be asked of the standard library without `unsafe`.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", self.end_signal.name()]);
        if let Some(user) = self.user {
            command
                .arg("--reuid")
                .arg(user.uid.to_string())
                .arg("--regid")
                .arg(user.gid.to_string())
                .arg("--clear-groups");
        }
        command
            .arg("--")
            .arg(&self.program)
            .args(&self.args)
            .stdin(Stdio::null())
            .stderr(log.try_clone()?);
        if self.stdout_piped {
            command.stdout(Stdio::piped());
        } else {
            command.stdout(log);
        }
        Ok(command)
    }

    /// Runs a command that is to end by itself, and well.
    ///
    /// # Errors
    /// Shows the end of its log when it fails or does not end within `deadline`.
    pub(crate) async fn run(self, deadline: Duration) -> Result<()> {
        let process = self.start()?;
        let status = process.ended(deadline).await?;
        if !status.success() {
            bail!("{} failed ({status})\n{}", process.name, process.log_tail());
        }
        Ok(())
    }
}

/// Starts `command` from a thread that lives as long as the process. The kernel reports the
/// death of the *thread* that started a child as the death of its parent, and the threads
/// of tests and of the async runtime come and go.
fn spawn(command: Command) -> Result<Child> {
    type Job = (Command, mpsc::Sender<std::io::Result<Child>>);
    static SPAWNER: OnceLock<mpsc::Sender<Job>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (jobs, todo) = mpsc::channel::<Job>();
        thread::spawn(move || {
            for (mut command, answer) in todo {
                // Whoever asked may have given up.
                let _ = answer.send(command.spawn());
            }
        });
        jobs
    });
    let (answer, child) = mpsc::channel();
    spawner
        .send((command, answer))
        .map_err(|_| anyhow!("the thread that starts processes is gone"))?;
    Ok(child.recv()??)
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
