//! `make bench-switch`; `POINTSMAN_BENCH_ROUNDS` sets how many rounds are run (20).

use std::env;
use std::fs;
use std::io::{Write, stdout};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use pointsman_tests::bench::{self, Comparison};

#[tokio::main]
async fn main() -> ExitCode {
    match measure().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn measure() -> anyhow::Result<()> {
    let comparison = bench::run(rounds()?, tell).await?;
    let path = Path::new(RESULT);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut text = serde_json::to_string_pretty(&comparison)?;
    text.push('\n');
    fs::write(path, text).with_context(|| format!("writing {RESULT}"))?;
    tell(&format!("\n{}{RESULT}", comparison.table()));
    let Comparison {
        lost_writes,
        duplicate_writes,
        ..
    } = comparison;
    // Times are for people to judge; lost writes are not.
    if lost_writes + duplicate_writes > 0 {
        bail!("{lost_writes} acknowledged writes were lost, {duplicate_writes} were applied twice");
    }
    Ok(())
}

fn rounds() -> anyhow::Result<usize> {
    let Ok(text) = env::var(ROUNDS) else {
        return Ok(DEFAULT_ROUNDS);
    };
    let rounds = text.parse().ok().filter(|rounds| *rounds > 0);
    rounds.with_context(|| format!("{ROUNDS}={text}: must be a number from 1"))
}

fn tell(line: &str) {
    // Whoever closes the pipe does not want to hear the rest.
    writeln!(stdout().lock(), "{line}").ok();
}

const RESULT: &str = "target/bench/switch.json";
const ROUNDS: &str = "POINTSMAN_BENCH_ROUNDS";
const DEFAULT_ROUNDS: usize = 20;
