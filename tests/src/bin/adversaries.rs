//! `make adversaries`; `POINTSMAN_SWITCHES` sets how many switches are run (50), `POINTSMAN_SEED` when adversaries act.

use std::{
    env,
    io::{Write as _, stdout},
    process::ExitCode,
};

use anyhow::{Context as _, Result};
use pointsman_tests::adversaries;

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
    let report = adversaries::run(switches()?, adversaries::seed()?, tell).await?;
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

fn switches() -> Result<usize> {
    let Ok(text) = env::var(SWITCHES) else {
        return Ok(DEFAULT);
    };
    let switches = text.parse().ok().filter(|switches| *switches > 0);
    switches.with_context(|| format!("{SWITCHES}={text}: must be a number from 1"))
}

fn tell(line: &str) {
    // A reader that closes the pipe does not want the rest.
    writeln!(stdout().lock(), "{line}").ok();
}

const SWITCHES: &str = "POINTSMAN_SWITCHES";
const DEFAULT: usize = 50;
