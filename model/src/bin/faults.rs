//! Plants each deliberate fault of `model/faults` into a copy of the workspace, and sees whether the
//! model, or the simulation, finds it.
#![expect(clippy::print_stdout, reason = "a program for a terminal")]
#![expect(clippy::disallowed_types, reason = "no clock is paused here")]

use std::{
    path::PathBuf,
    process::{ExitCode, Output},
    time::Instant,
};

use anyhow::{Context as _, Result, bail};
use pointsman_model::{
    CaughtBy, Fault, FaultOutcome, Former, Row, Sources, Summary, WorkspaceCopy,
};

fn main() -> Result<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    let report = PathBuf::from(arguments.next().context(USAGE)?);
    let wanted: Vec<String> = arguments.collect();
    let root = std::env::current_dir()?;
    let faults = Fault::all(&root.join("model/faults"))?;
    let is_wanted = |fault: &Fault| wanted.is_empty() || wanted.contains(&fault.name);
    if !faults.iter().any(is_wanted) {
        bail!("no fault of model/faults has one of these names: {wanted:?}");
    }
    let copy = WorkspaceCopy::of(&root)?;
    let sources = Sources::of(&copy)?;
    let former = Former::read(&report)?;
    let known = faults.len();
    let (mut table, mut left) = (Vec::new(), Vec::new());
    for fault in faults {
        match former.row(&sources.with(&fault)) {
            Some(row) => table.push(row),
            None => left.push(fault),
        }
    }
    println!(
        "{} of {known} faults were seen caught in these sources before",
        table.len()
    );
    for fault in left.iter().filter(|fault| is_wanted(fault)) {
        let row = plant(&copy, fault, sources.with(fault));
        println!("{row}");
        table.push(row);
        // A run that is cut off is gone on with from here.
        former.write(&report, &Summary::of(&table, known).value)?;
    }
    table.sort_by(|one, other| one.name.cmp(&other.name));
    let summary = Summary::of(&table, known);
    former.write(&report, &summary.value)?;
    println!("{}", summary.text);
    Ok(if summary.all_caught {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn plant(copy: &WorkspaceCopy, fault: &Fault, source: String) -> Row {
    let began = Instant::now();
    let tried = copy.with(fault, |copy| search(copy, fault));
    let seconds = began.elapsed().as_secs_f64();
    let (outcome, found, after) = match tried {
        Ok(Some(found)) => {
            // A seed may break another promise first.
            let expected = found.promise == fault.breaks || fault.caught_by == CaughtBy::Simulation;
            let outcome = if expected {
                FaultOutcome::Caught
            } else {
                FaultOutcome::Missed
            };
            (outcome, found.what, Some(found.after))
        }
        Ok(None) if fault.caught_by == CaughtBy::Simulation && !copy.has_simulation() => (
            FaultOutcome::NotRun,
            "there is no simulation here".to_owned(),
            None,
        ),
        Ok(None) => (FaultOutcome::Missed, "every promise holds".to_owned(), None),
        Err(error) => (FaultOutcome::Missed, format!("{error:#}"), None),
    };
    Row {
        name: fault.name.clone(),
        what: fault.what.clone(),
        files: fault.files().into_iter().map(str::to_owned).collect(),
        caught_by: fault.caught_by,
        breaks: fault.breaks.clone(),
        outcome,
        found,
        after,
        seconds,
        source,
    }
}

/// A promise that broke.
#[derive(Debug)]
struct Found {
    promise: String,
    /// The promise, and by which seed.
    what: String,
    /// How many worlds or seeds it took.
    after: String,
}

impl Found {
    /// What a program prints of a broken promise. A run may break several: then the one that must break.
    fn read(text: &str, breaks: &str) -> Self {
        let lines = || text.lines();
        let first = lines().next().unwrap_or_default();
        let of_seeds = lines().filter_map(|line| line.split_once(": BROKEN "));
        let of_seeds = of_seeds.map(|(seed, broken)| (seed, broken.split(": ").next()));
        let mut of_seeds: Vec<_> = of_seeds.collect();
        of_seeds.sort_by_key(|(_, promise)| *promise != Some(breaks));
        let (promise, what) = match of_seeds.first() {
            Some((seed, promise)) => {
                let promise = promise.unwrap_or_default();
                (promise, format!("{promise} ({seed})"))
            }
            None => (first, first.to_owned()),
        };
        let after = lines().find_map(|line| line.strip_prefix("after "));
        Self {
            promise: promise.to_owned(),
            what,
            after: after.unwrap_or_default().to_owned(),
        }
    }
}

/// Builds what must find the fault, and runs it. `None`: it found nothing.
fn search(copy: &WorkspaceCopy, fault: &Fault) -> Result<Option<Found>> {
    let (program, arguments): (_, &[&str]) = match fault.caught_by {
        CaughtBy::Sample => ("model", &["until-broken", "small"]),
        CaughtBy::Medium => ("model", &["until-broken", "medium"]),
        CaughtBy::Ends => ("model", &["until-broken", "ends"]),
        CaughtBy::Simulation if copy.has_simulation() => {
            ("simulate", &["--seeds", "0..2000", "--until-violation"])
        }
        // That it can be built is seen all the same.
        CaughtBy::Simulation => ("model", &[]),
    };
    let build = ["build", "--workspace", "--bin", program, "--quiet"];
    let built = copy.command("cargo").args(build).output()?;
    if !built.status.success() {
        bail!("it cannot be built: {}", last_lines(&built));
    }
    if arguments.is_empty() {
        return Ok(None);
    }
    let ran = copy
        .command(copy.program(program))
        .args(arguments)
        .output()?;
    match ran.status.code() {
        Some(0) => Ok(None),
        Some(1) => {
            let text = String::from_utf8_lossy(&ran.stdout);
            Ok(Some(Found::read(&text, &fault.breaks)))
        }
        _ => bail!("{program} ended with {}: {}", ran.status, last_lines(&ran)),
    }
}

fn last_lines(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
    let first = lines.len().saturating_sub(6);
    lines.get(first..).unwrap_or_default().join("; ")
}

const USAGE: &str = "usage: faults REPORT [NAME...]";
