//! The sum of all cases: `target/crash/report.json`, and the table for people.

use std::{collections::BTreeMap, fmt::Write as _};

use serde::Serialize;

use super::{
    cell::{Fault, Place, Run},
    outcome::Outcome,
    trial::Trial,
    wire::Point,
};

/// The content of `target/crash/report.json`.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What was tested.
    pub commit: String,
    /// Writes of each undisturbed run.
    pub writes: BTreeMap<&'static str, usize>,
    /// Cells that have run.
    pub cases: usize,
    /// Cells that there are.
    pub cells: usize,
    /// Cases with a write that was acknowledged and is absent, or is there twice or out of order.
    pub lost_writes: usize,
    /// Cases in which two servers accepted writes.
    pub two_writers: usize,
    /// Cases with clients that stayed parked.
    pub stuck_holds: usize,
    /// Cases after which a server held what it should not.
    pub leftovers: usize,
    /// Cases in which an operator was asked.
    pub needs_operator: usize,
    /// Cases that settled elsewhere than was written down, or did not end.
    pub unexpected: usize,
    /// `pass`, `fail`, or `incomplete` while cells are missing.
    pub verdict: &'static str,
    /// Of each case in which an operator was asked.
    pub asked: Vec<Asked>,
    /// Of each case that is not as it was to be.
    pub faults: Vec<Faulty>,
}

/// Why an operator was asked, and where each choice led.
#[derive(Clone, Debug, Serialize)]
pub struct Asked {
    /// The cell.
    pub cell: String,
    /// Why no proof was possible, in the words of the status.
    pub why: String,
    /// Each choice, with the state in which the migration was over.
    pub choices: BTreeMap<String, String>,
}

/// What is wrong with a case.
#[derive(Clone, Debug, Serialize)]
pub struct Faulty {
    /// The cell.
    pub cell: String,
    /// In words.
    pub faults: Vec<String>,
    /// The migration's record, of each trial.
    pub records: Vec<String>,
}

impl Report {
    /// Sums up `outcomes` of the cells over `places`.
    #[must_use]
    pub fn new(commit: &str, places: &[Place], outcomes: &[Outcome]) -> Self {
        let with = |holds: fn(&Trial) -> bool| {
            let cases = outcomes.iter();
            cases.filter(|case| case.trials.iter().any(holds)).count()
        };
        let mut report = Self {
            commit: commit.to_owned(),
            writes: writes(places),
            cases: outcomes.len(),
            cells: places.len() * CELLS_OF_A_PLACE,
            lost_writes: with(|trial| !trial.lost_writes.is_empty()),
            two_writers: with(|trial| !trial.two_writers.is_empty()),
            stuck_holds: with(|trial| !trial.stuck_holds.is_empty()),
            leftovers: with(|trial| !trial.leftovers.is_empty()),
            needs_operator: outcomes.iter().filter(|case| case.asked()).count(),
            unexpected: outcomes.iter().filter(|case| is_unexpected(case)).count(),
            verdict: "fail",
            asked: outcomes
                .iter()
                .filter(|case| case.asked())
                .map(asked)
                .collect(),
            faults: outcomes.iter().filter_map(faulty).collect(),
        };
        if report.faults.is_empty() {
            report.verdict = match report.cases == report.cells {
                true => "pass",
                false => "incomplete",
            };
        }
        report
    }
}

/// One row per write and side, one column per fault: where each case settled.
#[must_use]
pub(super) fn table(places: &[Place], outcomes: &[Outcome]) -> String {
    let mut text = format!("{:<24}", "write");
    for fault in Fault::ALL {
        // Writing to a String cannot fail.
        write!(text, " {:<16}", fault.label()).ok();
    }
    text.push('\n');
    for place in places {
        for point in [Point::Before, Point::After] {
            let name = format!("{} {} {}", place.run.verb(), place.number, point.label());
            write!(text, "{name:<24}").ok();
            for fault in Fault::ALL {
                let here = |case: &&Outcome| {
                    case.cell.place == *place
                        && case.cell.point == point
                        && case.cell.fault == fault
                };
                let shown = outcomes
                    .iter()
                    .find(here)
                    .map_or_else(|| "-".to_owned(), mark);
                write!(text, " {shown:<16}").ok();
            }
            text.push('\n');
        }
    }
    text
}

/// The state, with a sign if anything about the case is wrong.
fn mark(case: &Outcome) -> String {
    match case.faults().is_empty() {
        true => case.settled().to_owned(),
        false => format!("{} !", case.settled()),
    }
}

fn writes(places: &[Place]) -> BTreeMap<&'static str, usize> {
    let count = |run: Run| places.iter().filter(|place| place.run == run).count();
    Run::ALL.map(|run| (run.verb(), count(run))).into()
}

fn is_unexpected(case: &Outcome) -> bool {
    let mut settled = case.trials.iter().map(|trial| &trial.settled);
    case.failure.is_some() || settled.any(|settled| !case.expected.contains(settled))
}

fn asked(case: &Outcome) -> Asked {
    let choices = case.trials.iter();
    let choices = choices.map(|trial| (trial.choice.clone(), trial.ended.clone()));
    let first = case.trials.first();
    Asked {
        cell: case.name.clone(),
        why: first.map(|trial| trial.why.clone()).unwrap_or_default(),
        choices: choices.collect(),
    }
}

fn faulty(case: &Outcome) -> Option<Faulty> {
    let faults = case.faults();
    (!faults.is_empty()).then(|| Faulty {
        cell: case.name.clone(),
        faults,
        records: case
            .trials
            .iter()
            .map(|trial| trial.record.clone())
            .collect(),
    })
}

const CELLS_OF_A_PLACE: usize = 2 * Fault::ALL.len();
