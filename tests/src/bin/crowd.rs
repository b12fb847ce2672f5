//! `make crowd`; `POINTSMAN_CROWD_ROUNDS` sets how many rounds are run (10, which are 20 switches).

use std::process::ExitCode;

use anyhow::Result;
use pointsman_tests::{
    crowd,
    program::{count, tell},
};

#[tokio::main]
async fn main() -> ExitCode {
    match switch().await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            tell(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn switch() -> Result<bool> {
    let report = crowd::run(count(ROUNDS, DEFAULT_ROUNDS)?, tell).await?;
    tell(&format!(
        "{} switches, {} transactions, {} clients gave up: {}; {}",
        report.switches,
        report.transactions,
        report.failed,
        report.verdict,
        crowd::REPORT
    ));
    Ok(report.holds())
}

const ROUNDS: &str = "POINTSMAN_CROWD_ROUNDS";
const DEFAULT_ROUNDS: usize = 10;
