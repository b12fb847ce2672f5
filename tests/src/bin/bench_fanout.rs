//! `make bench-fanout`; `POINTSMAN_BENCH_STREAMS` sets how many streams each server has
//! (10,000), `POINTSMAN_BENCH_ROUNDS` how many changes it is timed with (30),
//! `POINTSMAN_BENCH_BASELINE` which other build of this program serves beside it.
//!
//! With arguments it is one of the processes that the benchmark consists of.

use std::env;
use std::io::{Write, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail, ensure};
use pointsman_lab::result_file::ResultFile;
use pointsman_tests::fanout::ours::Transport;
use pointsman_tests::fanout::{self, Extent, Peers};

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match play(&arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn play(arguments: &[&str]) -> anyhow::Result<()> {
    match *arguments {
        [] => measure().await,
        ["client"] => fanout::client::run(None),
        ["client", folder] => fanout::client::run(Some(Path::new(folder))),
        ["floor"] => fanout::floor::run(),
        ["ours", databases] => ours(databases, Transport::Own).await,
        ["ours", databases, folder] => ours(databases, Transport::OwnTls(Path::new(folder))).await,
        ["h2"] => ours("1", Transport::H2).await,
        _ => bail!("no role of the benchmark: {arguments:?}"),
    }
}

async fn ours(databases: &str, transport: Transport<'_>) -> anyhow::Result<()> {
    fanout::ours::run(databases.parse()?, transport).await
}

async fn measure() -> anyhow::Result<()> {
    let file = ResultFile::fresh(RESULT)?;
    let extent = Extent {
        streams: number(STREAMS, 10_000, 200)?,
        rounds: number(ROUNDS, 30, 1)?,
    };
    let baseline = env::var_os(BASELINE).map(PathBuf::from);
    if let Some(program) = &baseline {
        let found = program.is_file();
        ensure!(found, "{BASELINE}: there is no {}", program.display());
    }
    let peers = Peers {
        go_control_plane: PathBuf::from(GO_CONTROL_PLANE),
        baseline,
    };
    let report = fanout::run(extent, &peers, tell).await?;
    file.write(&report)?;
    tell(&format!("{report}\n{RESULT}"));
    Ok(())
}

fn number(name: &str, default: usize, least: usize) -> anyhow::Result<usize> {
    let Ok(text) = env::var(name) else {
        return Ok(default);
    };
    let number = text.parse().ok().filter(|number| *number >= least);
    number.with_context(|| format!("{name}={text}: must be a number from {least}"))
}

fn tell(line: &str) {
    // A reader that closes the pipe does not want the rest.
    writeln!(stdout().lock(), "{line}").ok();
}

const RESULT: &str = "target/bench/fanout.json";
/// Where the Makefile puts the peer, if it can build it.
const GO_CONTROL_PLANE: &str = "target/bench/go-control-plane";
const STREAMS: &str = "POINTSMAN_BENCH_STREAMS";
const ROUNDS: &str = "POINTSMAN_BENCH_ROUNDS";
const BASELINE: &str = "POINTSMAN_BENCH_BASELINE";
