//! What came of each deliberate fault, and what of it still stands when a run goes on.

use std::{
    collections::hash_map::DefaultHasher,
    fmt, fs,
    hash::{Hash as _, Hasher as _},
    path::Path,
};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    fault::{CaughtBy, Fault},
    workspace_copy::WorkspaceCopy,
};

/// What came of one fault.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Row {
    pub name: String,
    pub what: String,
    pub files: Vec<String>,
    pub caught_by: CaughtBy,
    pub breaks: String,
    pub outcome: Outcome,
    /// The promise that was found broken, or why none was.
    pub found: String,
    /// How many worlds or seeds it took.
    pub after: Option<String>,
    pub seconds: f64,
    /// What was judged: the patch, and all sources that have a say in it.
    pub source: String,
}

/// What a row says of its fault.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Outcome {
    #[serde(rename = "caught")]
    Caught,
    /// No promise broke, another one did, or the fault could not be planted.
    #[serde(rename = "NOT CAUGHT")]
    Missed,
    /// What would find it is not in this workspace.
    #[serde(rename = "not run")]
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

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:10} {}: {}",
            self.outcome.as_str(),
            self.name,
            self.found
        )?;
        match &self.after {
            Some(after) => write!(f, ", after {after}"),
            None => Ok(()),
        }
    }
}

/// The sources of a copy, as a number.
#[derive(Clone, Copy, Debug)]
pub struct Sources {
    model: u64,
    simulation: u64,
}

impl Sources {
    /// # Errors
    /// A file cannot be read.
    pub fn of(copy: &WorkspaceCopy) -> Result<Self> {
        Ok(Self {
            model: copy.hash_of(&["Cargo.lock", "catalog/src", "cutover/src", "model/src"])?,
            simulation: copy.hash_of(&[
                "Cargo.lock",
                "catalog/src",
                "cutover/src",
                "simulate/src",
            ])?,
        })
    }

    /// The same with the patch of `fault`.
    pub fn with(self, fault: &Fault) -> String {
        let mut hasher = DefaultHasher::new();
        match fault.caught_by {
            CaughtBy::Sample | CaughtBy::Medium | CaughtBy::Ends => self.model.hash(&mut hasher),
            CaughtBy::Simulation => self.simulation.hash(&mut hasher),
        }
        fault.patch.hash(&mut hasher);
        format!("{:016x}", hasher.finish())
    }
}

/// The report of former runs, which a run goes on with.
#[derive(Debug)]
pub struct Former {
    report: Value,
    rows: Vec<Row>,
}

impl Former {
    /// # Errors
    /// There is a report, and it is none.
    pub fn read(report: &Path) -> Result<Self> {
        let text = fs::read_to_string(report).unwrap_or_else(|_| "{}".to_owned());
        let report: Value = serde_json::from_str(&text).context("read the former report")?;
        let table = report.pointer("/faults/table").cloned();
        // Rows of another shape are made anew.
        let rows = table.and_then(|table| serde_json::from_value(table).ok());
        Ok(Self {
            report,
            rows: rows.unwrap_or_default(),
        })
    }

    /// The row of a fault that was seen caught in the same sources.
    pub fn row(&self, source: &str) -> Option<Row> {
        let mut rows = self.rows.iter();
        let row = rows.find(|row| row.source == source && row.outcome == Outcome::Caught);
        row.cloned()
    }

    /// The table as it was written.
    pub fn table(&self) -> Option<&Value> {
        self.report.get("faults")
    }

    /// Puts the table beside what a run of the model has written.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, path: &Path, table: &Value) -> Result<()> {
        let mut report = self.report.clone();
        if let Some(fields) = report.as_object_mut() {
            fields.insert("faults".to_owned(), table.clone());
        }
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(path, serde_json::to_string_pretty(&report)?)?;
        Ok(())
    }
}

/// The table, and what it says.
#[derive(Debug)]
pub struct Summary {
    pub value: Value,
    pub text: String,
    pub all_caught: bool,
}

impl Summary {
    /// Of `known` faults, these rows.
    pub fn of(table: &[Row], known: usize) -> Self {
        let count = |outcome| table.iter().filter(|row| row.outcome == outcome).count();
        let (caught, missed) = (count(Outcome::Caught), count(Outcome::Missed));
        let not_run = known.saturating_sub(caught + missed);
        let verdict = match (missed, not_run) {
            (0, 0) => "caught",
            (0, _) => "caught as far as they were run",
            (_, _) => "not caught",
        };
        let seconds: f64 = table.iter().map(|row| row.seconds).sum();
        Self {
            value: json!({
                "faults": known,
                "caught": caught,
                "not_caught": missed,
                "not_run": not_run,
                "verdict": verdict,
                "seconds": seconds,
                "table": table,
            }),
            text: format!(
                "{known} faults: {caught} caught, {missed} not caught, {not_run} not run, {seconds:.0} s; verdict: \
                 {verdict}"
            ),
            all_caught: missed == 0,
        }
    }
}
