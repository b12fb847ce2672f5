//! `make bench-peers`; `POINTSMAN_PEER_ROUNDS` sets how many rounds are run (5, which are 10 switches).

use std::process::ExitCode;

use anyhow::Result;
use pointsman_tests::{
    peers,
    program::{count, tell},
};

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
    let report = peers::run(count(ROUNDS, DEFAULT_ROUNDS)?, tell).await?;
    tell(&format!("\n{}{}", report.table(), peers::REPORT));
    // Times are for people to judge; lost writes are not.
    if !report.valid {
        tell("a contender lost, doubled or displaced writes: nothing here counts");
    }
    Ok(report.valid)
}

const ROUNDS: &str = "POINTSMAN_PEER_ROUNDS";
const DEFAULT_ROUNDS: usize = 5;
