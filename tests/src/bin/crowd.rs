//! `make crowd`; `POINTSMAN_CROWD_ROUNDS` sets how many rounds are run (10, which are 20 switches).

use std::{
    env,
    io::{Write as _, stdout},
    process::ExitCode,
};

use anyhow::{Context as _, Result};
use pointsman_tests::crowd;

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
    let report = crowd::run(rounds()?, tell).await?;
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

const ROUNDS: &str = "POINTSMAN_CROWD_ROUNDS";
const DEFAULT_ROUNDS: usize = 10;
