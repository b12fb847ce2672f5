//! Starts processes: under which user, and with which signal they end.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, OpenOptions},
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{OnceLock, mpsc},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail};

use super::{Process, Signal};
use crate::scratch;

/// The user that servers run as when the lab runs as root, which PostgreSQL refuses.
#[derive(Clone, Copy, Debug)]
pub struct ServerUser {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl ServerUser {
    /// `None` when this process is not root: then servers run as the same user.
    pub fn find() -> Result<Option<Self>> {
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

    /// Gives the file or folder at `path` to this user.
    pub fn give(self, path: &Path) -> Result<()> {
        chown(path, Some(self.uid), Some(self.gid))
            .with_context(|| format!("giving {} to its server", path.display()))
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
pub struct Launch {
    name: String,
    program: PathBuf,
    args: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    log: PathBuf,
    user: Option<ServerUser>,
    end_signal: Signal,
    stdout_piped: bool,
}

impl Launch {
    /// `log` takes what the process says, after what stands there already.
    pub fn new(name: impl Into<String>, program: impl AsRef<Path>, log: PathBuf) -> Self {
        Self {
            name: name.into(),
            program: program.as_ref().to_path_buf(),
            args: Vec::new(),
            environment: Vec::new(),
            log,
            user: None,
            end_signal: Signal::Kill,
            stdout_piped: false,
        }
    }

    /// One more argument.
    pub fn arg(self, arg: impl AsRef<OsStr>) -> Self {
        self.args([arg])
    }

    /// More arguments.
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args
            .extend(args.into_iter().map(|arg| arg.as_ref().to_os_string()));
        self
    }

    /// More variables beside those of this process.
    pub(crate) fn environment(mut self, variables: &[(OsString, OsString)]) -> Self {
        self.environment.extend_from_slice(variables);
        self
    }

    /// Runs it as this user; `None` is that of the lab.
    pub fn user(mut self, user: Option<ServerUser>) -> Self {
        self.user = user;
        self
    }

    /// The signal that ends the process on drop and at the death of the lab's own process.
    pub fn end_signal(mut self, signal: Signal) -> Self {
        self.end_signal = signal;
        self
    }

    /// Keeps standard output apart from the log, for [`Process::take_stdout`].
    pub(crate) fn pipe_stdout(mut self) -> Self {
        self.stdout_piped = true;
        self
    }

    /// Starts it.
    pub fn start(self) -> Result<Process> {
        let command = self.command()?;
        let child = spawn(command).with_context(|| {
            format!(
                "starting {} ({}); setpriv, of util-linux, is needed to start it",
                self.name,
                self.program.display()
            )
        })?;
        Process::watch(self.name, child, self.log, self.end_signal)
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
            // Root's files are closed to it; libpq falls back to the user's own home.
            command.env_remove("HOME");
        }
        command
            .arg("--")
            .arg(&self.program)
            .args(&self.args)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
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
                // The caller may have given up.
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
