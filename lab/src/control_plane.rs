//! The real `pointsman`: its server, and its command line.

use std::{
    ffi::{OsStr, OsString},
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{ChildStdout, Command},
    time::{Instant, timeout},
};

use crate::{
    ports::Port,
    process::{Launch, Process, Signal},
    tools,
};

const READY_DEADLINE: Duration = Duration::from_secs(30);
const STOP_DEADLINE: Duration = Duration::from_secs(20);

/// No verb but `--watch` takes longer: a switch ends inside its hold budget.
const VERB_DEADLINE: Duration = Duration::from_mins(3);

const VERIFY_DEADLINE: Duration = Duration::from_secs(20);
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// What a verb of the command line did.
#[derive(Clone, Debug)]
pub struct Output {
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// `pointsman serve`, with its data below one folder and at addresses that stay the same
/// over a restart. Killed on drop.
#[derive(Debug)]
pub struct ControlPlane {
    binary: PathBuf,
    data: PathBuf,
    config: PathBuf,
    log: PathBuf,
    xds: Port,
    admin: Port,
    security: Security,
    process: Option<Serving>,
}

/// More flags; without any, everything is plain text on loopback.
#[derive(Clone, Debug, Default)]
pub struct Security {
    /// Arguments of `serve`.
    pub serve: Vec<OsString>,
    /// Arguments of every other verb. If there are any, the admin address begins with https.
    pub verbs: Vec<OsString>,
    /// Environment variables of `serve`.
    pub environment: Vec<(OsString, OsString)>,
    /// A program that lies beside `pointsman` and has its command line, instead of it.
    pub program: Option<&'static str>,
}

/// A server that said it is ready.
#[derive(Debug)]
struct Serving {
    process: Process,
    // Kept open: a server that prints to a closed pipe would fail for that.
    _stdout: BufReader<ChildStdout>,
}

impl ControlPlane {
    /// Makes a new store below `folder` and serves; `settings` is the text of the
    /// configuration file.
    pub async fn start(folder: &Path, settings: &str) -> Result<Self> {
        Self::start_with(folder, settings, Security::default()).await
    }

    /// The same, with these flags.
    pub async fn start_with(folder: &Path, settings: &str, security: Security) -> Result<Self> {
        let config = folder.join("pointsman.toml");
        // Connection strings name certificates and passwords of this lab, and none but those.
        let secrets = format!("[secrets]\nfolders = [{folder:?}]\n");
        fs::write(&config, format!("{settings}\n{secrets}"))?;
        let pointsman = tools::pointsman().await?;
        let mut control_plane = Self {
            binary: match security.program {
                Some(program) => pointsman.with_file_name(program),
                None => pointsman.to_path_buf(),
            },
            data: folder.join("store"),
            config,
            log: folder.join("pointsman.log"),
            xds: Port::reserve()?,
            admin: Port::reserve()?,
            security,
            process: None,
        };
        control_plane.serve(&["--init"]).await?;
        Ok(control_plane)
    }

    /// Serves again with what the store holds, at the same addresses.
    pub async fn restart(&mut self) -> Result<()> {
        self.kill9().await?;
        self.serve(&[]).await
    }

    /// Serves with a new store at the same addresses, after the former one was lost.
    pub async fn restart_anew(&mut self) -> Result<()> {
        self.kill9().await?;
        self.serve(&["--init"]).await
    }

    async fn serve(&mut self, more: &[&str]) -> Result<()> {
        let (xds, admin) = (self.xds().to_string(), self.admin().to_string());
        let mut process = Launch::new("pointsman serve", &self.binary, self.log.clone())
            .arg("serve")
            .arg("--data-dir")
            .arg(&self.data)
            .arg("--config")
            .arg(&self.config)
            .args(["--xds-listen", &xds, "--admin-listen", &admin])
            .args(&self.security.serve)
            .args(more)
            .environment(&self.security.environment)
            .pipe_stdout()
            .start()?;
        let stdout = process.take_stdout().context("no standard output")?;
        let mut stdout = BufReader::new(ChildStdout::from_std(stdout)?);
        let mut line = String::new();
        timeout(READY_DEADLINE, stdout.read_line(&mut line))
            .await
            .with_context(|| {
                let tail = process.log_tail();
                format!("pointsman serve was not ready after {READY_DEADLINE:?}\n{tail}")
            })??;
        let expected = format!("ready xds={xds} admin={admin}");
        if line.trim_end() != expected {
            let tail = process.log_tail();
            bail!("pointsman serve said {line:?} instead of {expected:?}\n{tail}");
        }
        self.process = Some(Serving {
            process,
            _stdout: stdout,
        });
        Ok(())
    }

    /// Ends it at once, as a crash would (`kill -9`).
    pub async fn kill9(&mut self) -> Result<()> {
        if let Some(serving) = self.process.take() {
            serving.process.signal(Signal::Kill);
            serving.process.ended(STOP_DEADLINE).await?;
        }
        Ok(())
    }

    /// Asks it to stop (SIGTERM) and returns how it ended.
    pub async fn stop(&mut self) -> Result<ExitStatus> {
        let serving = self.process.take().context("it does not run")?;
        serving.process.signal(Signal::Term);
        serving.process.ended(STOP_DEADLINE).await
    }

    /// Takes the store away, as the loss of a disk would. The process must not run.
    pub fn lose_store(&self) -> Result<()> {
        fs::remove_dir_all(&self.data).context("losing the store")
    }

    /// Where sidecars connect to.
    #[must_use]
    pub fn xds(&self) -> SocketAddr {
        self.xds.on_loopback()
    }

    /// Where the command line connects to.
    #[must_use]
    pub fn admin(&self) -> SocketAddr {
        self.admin.on_loopback()
    }

    /// The last lines of its log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        crate::process::tail(&self.log)
    }

    /// A verb of the command line, for this server; not run yet.
    #[must_use]
    pub fn command<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Command {
        let scheme = match self.security.verbs.is_empty() {
            true => "http",
            false => "https",
        };
        let mut command = Command::new(&self.binary);
        command
            .arg("--admin")
            .arg(format!("{scheme}://{}", self.admin()))
            .args(&self.security.verbs)
            .args(args)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Runs a verb to its end, also if it fails.
    pub async fn cli(&self, args: &[&str]) -> Result<Output> {
        Self::run(self.command(args), args).await
    }

    /// The same without any of [`Security::verbs`]: as somebody else, or as nobody.
    pub async fn plain_cli(&self, args: &[&str]) -> Result<Output> {
        let mut command = Command::new(&self.binary);
        command
            .arg("--admin")
            .arg(format!("https://{}", self.admin()))
            .args(args)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        Self::run(command, args).await
    }

    async fn run(mut command: Command, args: &[&str]) -> Result<Output> {
        let output = timeout(VERB_DEADLINE, command.output())
            .await
            .with_context(|| format!("pointsman {args:?}: no end after {VERB_DEADLINE:?}"))??;
        Ok(Output {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Runs a verb that is to succeed, and returns what it printed.
    pub async fn cli_ok(&self, args: &[&str]) -> Result<String> {
        let output = self.cli(args).await?;
        if output.code != Some(0) {
            bail!(
                "pointsman {args:?} ended with {:?}\n{}{}",
                output.code,
                output.stdout,
                output.stderr
            );
        }
        Ok(output.stdout)
    }

    /// Runs a verb that is to succeed, and returns what it printed as JSON.
    pub async fn cli_json(&self, args: &[&str]) -> Result<Value> {
        let args: Vec<_> = ["--output", "json"].iter().chain(args).copied().collect();
        let text = self.cli_ok(&args).await?;
        serde_json::from_str(&text)
            .with_context(|| format!("pointsman {args:?} printed no JSON: {text:?}"))
    }
}

/// Every run ends with a look at what it wrote down.
impl Drop for ControlPlane {
    fn drop(&mut self) {
        if self.process.is_some()
            && !thread::panicking()
            && let Some(found) = self.forbidden()
        {
            panic!("the machine does not allow what a journal says: {found:#}");
        }
    }
}

impl ControlPlane {
    /// The migrations whose journals its own verb does not believe; `None` if there are none, or it does not
    /// answer.
    fn forbidden(&self) -> Option<Value> {
        let verify = ["--output", "json", "migration", "verify"];
        let mut verb = self.command(verify).into_std();
        let mut child = verb
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let until = Instant::now() + VERIFY_DEADLINE;
        while child.try_wait().ok()?.is_none() {
            if Instant::now() > until {
                child.kill().ok()?;
                child.wait().ok()?;
                return None;
            }
            thread::sleep(LOOK_AGAIN);
        }
        let printed = child.wait_with_output().ok()?.stdout;
        let found: Value = serde_json::from_slice(&printed).ok()?;
        let migrations = found["migrations"].as_array()?.iter();
        let failed: Vec<_> = migrations.filter(|it| it["verdict"] != "pass").collect();
        (!failed.is_empty()).then(|| failed.into_iter().cloned().collect())
    }
}
