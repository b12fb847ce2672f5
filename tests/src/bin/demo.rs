//! `make demo`.

use std::process::ExitCode;

use pointsman_lab::result_file::ResultFile;
use pointsman_tests::demo::{self, Report, Story};

#[tokio::main]
async fn main() -> ExitCode {
    let story = Story::begin();
    let broken = match reported(story).await {
        Ok(report) => report.broken_promises,
        Err(error) => vec![format!("the story did not come to its end: {error:#}")],
    };
    if broken.is_empty() {
        story.tell(&format!("every promise was kept: {REPORT}"));
        return ExitCode::SUCCESS;
    }
    for promise in broken {
        story.tell(&format!("BROKEN PROMISE: {promise}"));
    }
    ExitCode::FAILURE
}

async fn reported(story: Story) -> anyhow::Result<Report> {
    let file = ResultFile::fresh(REPORT)?;
    let report = demo::run(story).await?;
    file.write(&report)?;
    Ok(report)
}

const REPORT: &str = "target/demo/report.json";
