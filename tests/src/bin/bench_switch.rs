//! `make bench-switch`; `POINTSMAN_BENCH_ROUNDS` sets how many rounds are run (20).

use std::env;
use std::io::{Write, stdout};
use std::process::ExitCode;

use anyhow::{Context, bail};
use pointsman_lab::result_file::ResultFile;
use pointsman_tests::bench;

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
    let file = ResultFile::fresh(RESULT)?;
    let comparison = bench::run(rounds()?, tell).await?;
    file.write(&comparison)?;
    tell(&format!("\n{}{RESULT}", comparison.table()));
    // Times are for people to judge; lost writes are not.
    if let Some(loss) = comparison.loss() {
        bail!("{loss}");
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
    // A reader that closes the pipe does not want the rest.
    writeln!(stdout().lock(), "{line}").ok();
}

const RESULT: &str = "target/bench/switch.json";
const ROUNDS: &str = "POINTSMAN_BENCH_ROUNDS";
const DEFAULT_ROUNDS: usize = 20;
