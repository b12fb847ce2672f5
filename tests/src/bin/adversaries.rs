//! `make adversaries`; `POINTSMAN_SWITCHES` sets how many switches are run (50), `POINTSMAN_SEED` when adversaries act.

use std::process::ExitCode;

use anyhow::Result;
use pointsman_tests::{
    adversaries,
    program::{count, tell},
};

#[tokio::main]
async fn main() -> ExitCode {
    match attack().await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            tell(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn attack() -> Result<bool> {
    let report = adversaries::run(count(SWITCHES, DEFAULT)?, adversaries::seed()?, tell).await?;
    tell(&format!(
        "{} switches, {} dropped, {} not named in time: {}; {}",
        report.switches,
        report.dropped.len(),
        report.not_named.len(),
        report.verdict,
        adversaries::REPORT
    ));
    Ok(report.holds())
}

const SWITCHES: &str = "POINTSMAN_SWITCHES";
const DEFAULT: usize = 50;
