//! `make bench-peers`; `POINTSMAN_PEER_ROUNDS` sets how many rounds are run (5, which are 10 switches).

use std::{
    env,
    io::{Write as _, stdout},
    process::ExitCode,
};

use anyhow::{Context as _, Result};
use pointsman_tests::peers;

#[tokio::main]
async fn main() -> ExitCode {
    match measure().await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            tell(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn measure() -> Result<bool> {
    let report = peers::run(rounds()?, tell).await?;
    tell(&format!("\n{}{}", report.table(), peers::REPORT));
    // Times are for people to judge; lost writes are not.
    if !report.valid {
        tell("a contender lost, doubled or displaced writes: nothing here counts");
    }
    Ok(report.valid)
}

fn rounds() -> Result<usize> {
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

const ROUNDS: &str = "POINTSMAN_PEER_ROUNDS";
const DEFAULT_ROUNDS: usize = 5;
