//! What operators see of a fleet, from a control plane without sidecars.

use std::{process::Stdio, time::Duration};

use anyhow::{Context, Result, ensure};
use pointsman_lab::{control_plane::ControlPlane, scratch::Scratch};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

/// No wait may last longer; none says anything about speed.
const SOON: Duration = Duration::from_secs(30);

struct TestEnvironment {
    control_plane: ControlPlane,
    _scratch: Scratch,
}

/// `fleet status --watch`, as JSON.
struct Watching {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl TestEnvironment {
    async fn open() -> Result<Self> {
        let scratch = Scratch::new()?;
        let control_plane = ControlPlane::start(scratch.path(), "").await?;
        Ok(Self {
            control_plane,
            _scratch: scratch,
        })
    }

    async fn register(&self, node: &str, more: &[&str]) -> Result<()> {
        let register = ["fleet", "register", node, "--listen", "127.0.0.11"];
        let register: Vec<_> = register.iter().chain(more).copied().collect();
        self.control_plane.cli_ok(&register).await?;
        Ok(())
    }

    fn watch(&self) -> Result<Watching> {
        let args = ["--output", "json", "fleet", "status", "--watch"];
        let mut command = self.control_plane.command(args);
        let mut process = command.stdout(Stdio::piped()).spawn()?;
        let stdout = process.stdout.take().context("its output")?;
        let lines = BufReader::new(stdout).lines();
        Ok(Watching { process, lines })
    }
}

impl Watching {
    async fn nodes(&mut self) -> Result<Vec<Value>> {
        let line = timeout(SOON, self.lines.next_line()).await??;
        let status: Value = serde_json::from_str(&line.context("it has ended")?)?;
        Ok(status["nodes"].as_array().context("nodes")?.clone())
    }

    async fn ended(mut self) -> Result<Option<i32>> {
        Ok(timeout(SOON, self.process.wait()).await??.code())
    }
}

#[tokio::test]
async fn watching_prints_each_change_and_ends_by_interrupt() -> Result<()> {
    let env = TestEnvironment::open().await?;
    let mut watching = env.watch()?;
    ensure!(watching.nodes().await?.is_empty());
    env.register("app-1", &[]).await?;
    let nodes = watching.nodes().await?;
    ensure!(
        nodes.len() == 1 && nodes[0]["state"] == "ABSENT",
        "{nodes:?}"
    );
    env.register("app-1", &["--canary"]).await?;
    let nodes = watching.nodes().await?;
    ensure!(nodes[0]["canary"] == true, "{nodes:?}");
    let pid = watching.process.id().context("it has ended")?;
    let interrupted = Command::new("kill")
        .args(["-s", "INT", &pid.to_string()])
        .status();
    ensure!(interrupted.await?.success());
    ensure!(watching.ended().await? == Some(0));
    Ok(())
}

#[tokio::test]
async fn watching_ends_when_nobody_reads_any_more() -> Result<()> {
    let env = TestEnvironment::open().await?;
    let mut watching = env.watch()?;
    watching.nodes().await?;
    let Watching { mut process, lines } = watching;
    drop(lines);
    // Nothing changes, and it ends all the same.
    let ended = timeout(SOON, process.wait()).await??;
    ensure!(ended.code() == Some(0), "{ended:?}");
    Ok(())
}

#[tokio::test]
async fn a_sidecar_that_never_came_is_shown_and_one_that_nobody_knows_is_not() -> Result<()> {
    let env = TestEnvironment::open().await?;
    env.register("app-1", &["--canary"]).await?;
    let shown = env
        .control_plane
        .cli_ok(&["fleet", "show", "app-1"])
        .await?;
    ensure!(shown.starts_with("app-1: ABSENT"), "{shown}");
    ensure!(shown.contains("yes, as a canary"), "{shown}");
    let unknown = env.control_plane.cli(&["fleet", "show", "app-2"]).await?;
    ensure!(unknown.code == Some(1), "{unknown:?}");
    ensure!(unknown.stderr.contains("no sidecar app-2"), "{unknown:?}");
    Ok(())
}
