//! `make bench-switch`; `POINTSMAN_BENCH_ROUNDS` sets how many rounds are run (20).

use std::process::ExitCode;

use anyhow::bail;
use pointsman_lab::result_file::ResultFile;
use pointsman_tests::{
    bench,
    program::{count, tell},
};

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
    let comparison = bench::run(count(ROUNDS, DEFAULT_ROUNDS)?, tell).await?;
    file.write(&comparison)?;
    tell(&format!("\n{}{RESULT}", comparison.table()));
    // Times are for people to judge; lost writes are not.
    if let Some(loss) = comparison.loss() {
        bail!("{loss}");
    }
    Ok(())
}

const RESULT: &str = "target/bench/switch.json";
const ROUNDS: &str = "POINTSMAN_BENCH_ROUNDS";
const DEFAULT_ROUNDS: usize = 20;
