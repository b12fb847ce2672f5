//! A process that answers lines with lines.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

#[derive(Debug)]
pub(super) struct Helper {
    name: String,
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Helper {
    /// This program in another role.
    pub(super) fn of_us(role: &[&str]) -> anyhow::Result<Self> {
        Self::start(&env::current_exe()?, role)
    }

    pub(super) fn start(program: &Path, arguments: &[&str]) -> anyhow::Result<Self> {
        let name = format!("{} {}", program.display(), arguments.join(" "));
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        let input = child.stdin.take().context("no standard input")?;
        let output = child.stdout.take().context("no standard output")?;
        Ok(Self {
            name,
            child,
            input,
            output: BufReader::new(output).lines(),
        })
    }

    pub(super) async fn tell(&mut self, line: &str) -> anyhow::Result<()> {
        let line = format!("{line}\n");
        let told = self.input.write_all(line.as_bytes()).await;
        told.with_context(|| format!("telling {}", self.name))
    }

    /// The numbers of the next answer, which must begin with `word`.
    pub(super) async fn hear<const N: usize>(&mut self, word: &str) -> anyhow::Result<[u64; N]> {
        let text = self.hear_text(word).await?;
        let numbers = text.split_whitespace().map(str::parse);
        let numbers: Vec<u64> = numbers.collect::<Result<_, _>>()?;
        let count = numbers.len();
        numbers
            .try_into()
            .map_err(|_| anyhow!("{}: {word} with {count} numbers", self.name))
    }

    /// The next answer behind `word`.
    pub(super) async fn hear_text(&mut self, word: &str) -> anyhow::Result<String> {
        let line = timeout(PATIENCE, self.output.next_line()).await;
        let line = line.with_context(|| format!("{}: no {word} in time", self.name))??;
        let Some(line) = line else {
            bail!("{} ended before it said {word}", self.name);
        };
        match line.strip_prefix(word) {
            Some(rest) => Ok(rest.trim().to_owned()),
            None => bail!("{}: {word} expected, {line:?} heard", self.name),
        }
    }

    /// Resident memory in bytes.
    pub(super) fn resident(&self) -> anyhow::Result<u64> {
        let pid = self.child.id().context("the process has ended")?;
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        let kib: u64 = kib.context("no VmRSS")?.trim().parse()?;
        Ok(kib << 10)
    }
}

/// The limit of every wait, storms included.
const PATIENCE: Duration = Duration::from_secs(90);
