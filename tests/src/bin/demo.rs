//! `make demo`.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use pointsman_tests::demo::{self, Report, Story};

#[tokio::main]
async fn main() -> ExitCode {
    let story = Story::begin();
    match demo::run(story)
        .await
        .and_then(|report| write(&report).map(|()| report))
    {
        Ok(report) if report.broken_promises.is_empty() => {
            story.tell(&format!("every promise was kept: {REPORT}"));
            ExitCode::SUCCESS
        }
        Ok(report) => {
            for promise in &report.broken_promises {
                story.tell(&format!("BROKEN PROMISE: {promise}"));
            }
            story.tell(&format!("the figures are in {REPORT}"));
            ExitCode::FAILURE
        }
        Err(error) => {
            story.tell(&format!(
                "BROKEN PROMISE: the story did not come to its end: {error:#}"
            ));
            ExitCode::FAILURE
        }
    }
}

fn write(report: &Report) -> anyhow::Result<()> {
    let path = Path::new(REPORT);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut text = serde_json::to_string_pretty(report)?;
    text.push('\n');
    fs::write(path, text).with_context(|| format!("writing {REPORT}"))
}

const REPORT: &str = "target/demo/report.json";
