//! Runs command lines and holds what they say against what they are to say.

use std::{ffi::OsString, net::SocketAddr, path::Path, process::Stdio, time::Duration};

use anyhow::{Context, Result, ensure};
use pointsman_lab::tools;
use tokio::{process::Command, time::timeout};

/// No bad input takes long to refuse; some of it asks servers first.
const DEADLINE: Duration = Duration::from_secs(60);

/// A command line that is to be refused.
pub(crate) struct Case<'a> {
    /// What is wrong with it.
    pub(crate) what: &'a str,
    pub(crate) args: Vec<OsString>,
    /// The exit code.
    pub(crate) code: i32,
    /// What standard error (for `preflight` standard output) is to say, all of it.
    pub(crate) says: Vec<String>,
    /// What it must keep to itself.
    pub(crate) never_says: Vec<&'a str>,
}

impl<'a> Case<'a> {
    /// `line` is cut at spaces; `{}` in it stands for one of `paths` each, in order.
    pub(crate) fn new(what: &'a str, line: &str, paths: &[&Path], code: i32) -> Self {
        let mut paths = paths.iter();
        let args = line.split(' ').map(|word| match (word, paths.len()) {
            ("{}", 1..) => paths.next().map_or_else(OsString::new, OsString::from),
            (word, _) => OsString::from(word),
        });
        Self {
            what,
            args: args.collect(),
            code,
            says: Vec::new(),
            never_says: Vec::new(),
        }
    }

    pub(crate) fn says(mut self, message: impl Into<String>) -> Self {
        self.says.push(message.into());
        self
    }

    pub(crate) fn never_says(mut self, message: &'a str) -> Self {
        self.never_says.push(message);
        self
    }

    /// Runs it against the control plane at `admin` and checks how it ends.
    pub(crate) async fn check(&self, admin: SocketAddr) -> Result<()> {
        let mut command = Command::new(tools::pointsman().await?);
        command
            .env("POINTSMAN_ADMIN", format!("http://{admin}"))
            .args(&self.args)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let ended = timeout(DEADLINE, command.output()).await;
        let output =
            ended.with_context(|| format!("{}: no end after {DEADLINE:?}", self.what))??;
        let stderr = String::from_utf8_lossy(&output.stderr);
        let stdout = String::from_utf8_lossy(&output.stdout);
        let code = output.status.code();
        let said = if stderr.is_empty() { &stdout } else { &stderr };
        self.show(code, said);
        ensure!(
            code == Some(self.code),
            "{}: exit code {code:?} instead of {}: {said}",
            self.what,
            self.code
        );
        for message in &self.says {
            ensure!(
                said.contains(message),
                "{}: nobody said {message:?}: {said}",
                self.what
            );
        }
        for message in self.never_says.iter().chain(&["panicked"]) {
            ensure!(
                !said.contains(message),
                "{}: it said {message:?}: {said}",
                self.what
            );
        }
        Ok(())
    }

    #[expect(
        clippy::print_stdout,
        reason = "the table is for people, with `--nocapture` or when it fails"
    )]
    fn show(&self, code: Option<i32>, said: &str) {
        let args: Vec<_> = self.args.iter().map(|arg| arg.to_string_lossy()).collect();
        let code = code.map_or_else(|| "by a signal".to_owned(), |code| code.to_string());
        println!(
            "# {}\n$ pointsman {}\n{}\n[{code}]\n",
            self.what,
            args.join(" "),
            said.trim_end(),
        );
    }
}

/// Checks every case, and names all that failed.
pub(crate) async fn check_all(
    admin: SocketAddr,
    cases: impl IntoIterator<Item = Case<'_>>,
) -> Result<()> {
    let mut wrong = Vec::new();
    for case in cases {
        if let Err(error) = case.check(admin).await {
            wrong.push(format!("{error:#}"));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}
