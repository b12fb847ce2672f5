//! `make crash`; `CASES=a..b` runs the cells from the a-th to the b-th alone.

use std::{
    env,
    io::{Write as _, stdout},
    ops::RangeInclusive,
    process::ExitCode,
};

use anyhow::{Context, Result};
use pointsman_tests::crash::{self, Report};

#[tokio::main]
async fn main() -> ExitCode {
    match cross().await {
        Ok(report) if report.faults.is_empty() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            tell(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn cross() -> Result<Report> {
    let report = crash::crash(cases()?, tell).await?;
    let Report {
        cases,
        cells,
        verdict,
        ..
    } = &report;
    let faults = report.faults.len();
    tell(&format!(
        "{cases} of {cells} cells, {faults} not as they were to be: {verdict}; {}",
        crash::REPORT
    ));
    Ok(report)
}

fn cases() -> Result<Option<RangeInclusive<usize>>> {
    let Ok(text) = env::var(CASES) else {
        return Ok(None);
    };
    let range = text.split_once("..").and_then(|(first, last)| {
        let (first, last) = (first.parse().ok()?, last.parse().ok()?);
        (first <= last).then_some(first..=last)
    });
    let range =
        range.with_context(|| format!("{CASES}={text}: allowed is a..b, both cells from 1"))?;
    Ok(Some(range))
}

fn tell(line: &str) {
    // A reader that closes the pipe does not want the rest.
    writeln!(stdout().lock(), "{line}").ok();
}

const CASES: &str = "CASES";
