//! `make chaos`; `MINUTES` says for how long (60), `SEED` what all chance follows from.

use std::{
    env,
    process::ExitCode,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result};
use pointsman_lab::result_file::ResultFile;
use pointsman_tests::{
    chaos::{self, Length},
    program::{count, tell},
};

#[tokio::main]
async fn main() -> ExitCode {
    match reign().await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            tell(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn reign() -> Result<bool> {
    let minutes = count(MINUTES, DEFAULT)?;
    let seed = seed()?;
    tell(&format!("{minutes} minutes, SEED={seed}"));
    let time = Duration::from_mins(u64::try_from(minutes)?);
    let file = ResultFile::fresh(REPORT)?;
    let report = chaos::run(Length::Time(time), seed, tell, |report| file.write(report)).await?;
    tell(&format!("{report}"));
    for failure in &report.failures {
        tell(&format!(
            "round {} of seed {seed}, {} s to {} s, {}",
            failure.round, failure.from_s, failure.until_s, failure.logs
        ));
    }
    tell(&format!("{}; {REPORT}", report.verdict));
    Ok(report.holds())
}

/// The wall clock's, if none is given.
fn seed() -> Result<u64> {
    match env::var(SEED).ok().filter(|text| !text.is_empty()) {
        Some(text) => text.parse().with_context(|| format!("{SEED}={text}")),
        None => Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs()),
    }
}

const MINUTES: &str = "MINUTES";
const SEED: &str = "SEED";
const DEFAULT: usize = 60;
const REPORT: &str = "target/chaos/report.json";
