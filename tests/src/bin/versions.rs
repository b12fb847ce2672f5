//! The first half of `make test-versions`: a switch there and back on each version, as superuser and without. Arguments choose
//! major versions.

use std::{io::Write as _, process::ExitCode};

use pointsman_tests::versions::{Case, HEADING, Row};

#[tokio::main]
async fn main() -> ExitCode {
    let mut wrong = 0;
    tell(HEADING);
    let chosen: Vec<_> = std::env::args().skip(1).collect();
    let wanted = |case: &Case| chosen.is_empty() || chosen.contains(&case.major.to_string());
    for case in Case::all().filter(wanted) {
        let expected = Row::expected(case);
        match case.run().await {
            Ok(row) if row == expected => tell(&row.to_string()),
            Ok(row) => {
                wrong += 1;
                tell(&format!("{row} expected: {expected}"));
            }
            Err(error) => {
                wrong += 1;
                tell(&format!("{expected} FAILED: {error:#}"));
            }
        }
    }
    if wrong == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn tell(line: &str) {
    // A reader that closes the pipe does not want to hear the rest.
    writeln!(std::io::stdout().lock(), "{line}").ok();
}
