//! Plants each deliberate fault of `model/faults` into a copy of the workspace, and sees whether the
//! model, or the simulation, finds it.
#![expect(clippy::print_stdout, reason = "a program for a terminal")]
#![expect(clippy::disallowed_types, reason = "no clock is paused here")]

use std::{
    fs,
    path::Path,
    process::{ExitCode, Output},
    time::Instant,
};

use anyhow::{Context as _, Result, bail};
use pointsman_model::{CaughtBy, Fault, WorkspaceCopy};
use serde_json::{Value, json};

fn main() -> Result<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    let report = arguments.next().context(USAGE)?;
    let wanted: Vec<String> = arguments.collect();
    let root = std::env::current_dir()?;
    let mut faults = Fault::all(&root.join("model/faults"))?;
    faults.retain(|fault| wanted.is_empty() || wanted.contains(&fault.name));
    if faults.is_empty() {
        bail!("no fault of model/faults has one of these names: {wanted:?}");
    }
    let copy = WorkspaceCopy::of(&root)?;
    let began = Instant::now();
    let mut table = Vec::new();
    for fault in &faults {
        let row = plant(&copy, fault);
        println!(
            "{:10} {}: {}{}",
            row.outcome.as_str(),
            fault.name,
            row.found,
            row.after
                .as_ref()
                .map_or_else(String::new, |after| format!(", after {after}"))
        );
        table.push(row);
    }
    let summary = Summary::of(&table, began.elapsed().as_secs_f64());
    write(Path::new(&report), &summary.value)?;
    println!("{}", summary.text);
    Ok(if summary.all_caught {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What came of one fault.
#[derive(Debug)]
struct Row {
    outcome: Outcome,
    /// The promise that was found broken, or why none was.
    found: String,
    after: Option<String>,
    value: Value,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Outcome {
    Caught,
    /// No promise broke, another one did, or the fault could not be planted.
    Missed,
    /// What would find it is not in this workspace.
    NotRun,
}

impl Outcome {
    fn as_str(self) -> &'static str {
        match self {
            Self::Caught => "caught",
            Self::Missed => "NOT CAUGHT",
            Self::NotRun => "not run",
        }
    }
}

fn plant(copy: &WorkspaceCopy, fault: &Fault) -> Row {
    let began = Instant::now();
    let tried = copy.with(fault, |copy| search(copy, fault));
    let seconds = began.elapsed().as_secs_f64();
    let (outcome, found, after) = match tried {
        Ok(Some(found)) => {
            // A seed may break another promise first.
            let expected = found.promise == fault.breaks || fault.caught_by == CaughtBy::Simulation;
            let outcome = if expected {
                Outcome::Caught
            } else {
                Outcome::Missed
            };
            (outcome, found.what, Some(found.after))
        }
        Ok(None) if fault.caught_by == CaughtBy::Simulation && !copy.has_simulation() => (
            Outcome::NotRun,
            "there is no simulation here".to_owned(),
            None,
        ),
        Ok(None) => (Outcome::Missed, "every promise holds".to_owned(), None),
        Err(error) => (Outcome::Missed, format!("{error:#}"), None),
    };
    let value = json!({
        "name": fault.name,
        "what": fault.what,
        "files": fault.files(),
        "caught_by": fault.caught_by,
        "breaks": fault.breaks,
        "outcome": outcome.as_str(),
        "found": found,
        "after": after,
        "seconds": seconds,
    });
    Row {
        outcome,
        found,
        after,
        value,
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

#[derive(Debug)]
struct Summary {
    value: Value,
    text: String,
    all_caught: bool,
}

impl Summary {
    fn of(table: &[Row], seconds: f64) -> Self {
        let count = |outcome| table.iter().filter(|row| row.outcome == outcome).count();
        let (caught, missed) = (count(Outcome::Caught), count(Outcome::Missed));
        let not_run = count(Outcome::NotRun);
        let all_caught = missed == 0;
        let verdict = match (missed, not_run) {
            (0, 0) => "caught",
            (0, _) => "caught as far as they were run",
            (_, _) => "not caught",
        };
        let planted = table.len();
        Self {
            value: json!({
                "planted": planted,
                "caught": caught,
                "not_caught": missed,
                "not_run": not_run,
                "verdict": verdict,
                "seconds": seconds,
                "table": table.iter().map(|row| &row.value).collect::<Vec<_>>(),
            }),
            text: format!(
                "{planted} faults: {caught} caught, {missed} not caught, {not_run} not run, {seconds:.0} s; verdict: \
                 {verdict}"
            ),
            all_caught,
        }
    }
}

/// Puts the table beside what a run of the model has written.
fn write(report: &Path, faults: &Value) -> Result<()> {
    let former = fs::read_to_string(report).unwrap_or_else(|_| "{}".to_owned());
    let mut value: Value = serde_json::from_str(&former)?;
    if let Some(fields) = value.as_object_mut() {
        fields.insert("faults".to_owned(), faults.clone());
    }
    if let Some(folder) = report.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(report, serde_json::to_string_pretty(&value)?)?;
    Ok(())
}

const USAGE: &str = "usage: faults REPORT [NAME...]";
