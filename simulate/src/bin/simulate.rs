//! Runs seeds and writes a report, or runs one seed and prints what happened.
#![expect(clippy::print_stdout, reason = "a program for a terminal")]
#![expect(
    clippy::disallowed_types,
    reason = "how long it took on the machine's clock"
)]

use std::{fs, ops::Range, path::PathBuf, process::ExitCode, time::Instant};

use anyhow::{Context as _, Result, bail};
use pointsman_simulate::{Case, Outcome, crossed, run, run_all};

/// What is asked for on the command line.
struct Arguments {
    seeds: Range<u64>,
    until_violation: bool,
    crossed: bool,
    trace: Option<u64>,
    report: Option<PathBuf>,
    threads: usize,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::read()?;
    if let Some(seed) = arguments.trace {
        let outcome = run(Case::of(seed), true)?;
        println!("{}", outcome.trace.join("\n"));
        print(&outcome);
        return Ok(code(outcome.violations.is_empty()));
    }
    let began = Instant::now();
    let mut cases: Vec<_> = arguments.seeds.clone().map(Case::of).collect();
    if arguments.crossed {
        cases.extend(crossed()?);
    }
    let report = run_all(&cases, arguments.threads, arguments.until_violation)?;
    for outcome in &report.broken {
        print(outcome);
    }
    if arguments.until_violation && report.violations > 0 {
        println!("after {} seeds", report.seeds);
    }
    println!(
        "{} seeds and {} crossed messages, {} broke a promise, {} messages, {:.1} simulated hours in {:.1} s; ends: {:?}; verdict: {}",
        report.seeds,
        report.crossed,
        report.violations,
        report.messages,
        report.simulated_hours,
        began.elapsed().as_secs_f64(),
        report.ends,
        report.verdict
    );
    if let Some(path) = arguments.report {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let text = serde_json::to_string_pretty(&report)?;
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        println!("report: {}", path.display());
    }
    if let Some(first) = report.broken.first() {
        println!(
            "simulate --trace {} shows the first run that broke one",
            first.seed
        );
    }
    Ok(code(report.violations == 0))
}

fn code(holds: bool) -> ExitCode {
    if holds {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn print(outcome: &Outcome) {
    for violation in &outcome.violations {
        println!(
            "seed {}: BROKEN {}: {}",
            outcome.seed, violation.promise, violation.what
        );
    }
    println!(
        "seed {}: ended {}, troubles {:?}",
        outcome.seed, outcome.end, outcome.troubles
    );
}

impl Arguments {
    fn read() -> Result<Self> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let mut read = Self {
            seeds: 0..10_000,
            until_violation: false,
            crossed: false,
            trace: None,
            report: None,
            threads,
        };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut value = || {
                words
                    .next()
                    .with_context(|| format!("{word} wants a value"))
            };
            match word.as_str() {
                "--seeds" => read.seeds = range(&value()?)?,
                "--until-violation" => read.until_violation = true,
                "--crossed" => read.crossed = true,
                "--trace" => read.trace = Some(value()?.parse()?),
                "--report" => read.report = Some(value()?.into()),
                "--threads" => read.threads = value()?.parse()?,
                _ => bail!("{USAGE}"),
            }
        }
        Ok(read)
    }
}

/// `A..B`, or the number of seeds from 0 on.
fn range(text: &str) -> Result<Range<u64>> {
    Ok(match text.split_once("..") {
        Some((first, end)) => first.parse()?..end.parse()?,
        None => 0..text.parse()?,
    })
}

const USAGE: &str = "usage: simulate [--seeds N|A..B] [--crossed] [--until-violation] [--threads N] [--report FILE]\n\
     \u{20}      simulate --trace SEED";
