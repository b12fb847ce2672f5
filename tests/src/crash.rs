//! Every write of the store crossed with every crash: `make crash`.
//!
//! The control plane under test is the shipped one with a store that asks an overseer around each
//! write ([`overseen`]). The overseer stops it at one write; then something is killed, cut or lost.

mod cell;
mod expectation;
mod fault;
mod notebook;
mod outcome;
mod overseer;
mod report;
mod stage;
mod store;
mod trial;
mod wire;

use std::{fs, ops::RangeInclusive, path::Path};

use anyhow::{Context, Result};
use futures_util::{StreamExt as _, stream};

pub use cell::{Cell, Fault, Place, Run};
pub use outcome::Outcome;
pub use report::Report;
pub use store::overseen;
pub use trial::{Trial, undisturbed};
pub use wire::Point;

use notebook::Notebook;

/// Runs the cells whose numbers, from 1, are in `wanted`, but for those that a former run of the same
/// commit has ended. `tell` hears a line of each. Returns the sum of both.
///
/// # Errors
/// An undisturbed run did not come to its end, or nothing can be kept.
pub async fn crash(wanted: Option<RangeInclusive<usize>>, tell: impl Fn(&str)) -> Result<Report> {
    let notebook = Notebook::open()?;
    let places = places(&notebook, &tell).await?;
    let mut outcomes = notebook.outcomes()?;
    let cells: Vec<_> = (1..).zip(Cell::all(&places)).collect();
    let open = cells.iter().filter(|(number, cell)| {
        let chosen = wanted.as_ref().is_none_or(|wanted| wanted.contains(number));
        chosen && !outcomes.iter().any(|outcome| outcome.cell == *cell)
    });
    let open: Vec<_> = open.cloned().collect();
    tell(&format!(
        "{} cells, {} of them ended before, {} to run",
        cells.len(),
        outcomes.len(),
        open.len()
    ));
    let running = stream::iter(open).map(|(number, cell)| async move {
        let outcome = Outcome::of(cell).await;
        (number, outcome)
    });
    let mut running = std::pin::pin!(running.buffer_unordered(AT_ONCE));
    while let Some((number, outcome)) = running.next().await {
        notebook.keep(&outcome)?;
        let (name, settled, seconds) = (&outcome.name, outcome.settled(), outcome.seconds);
        tell(&format!("{number:>4} {name}: {settled} ({seconds:.0} s)"));
        for fault in outcome.faults() {
            tell(&format!("     WRONG: {fault}"));
        }
        outcomes.push(outcome);
    }
    tell(&report::table(&places, &outcomes));
    let report = Report::new(notebook.commit(), &places, &outcomes);
    write(&report)?;
    Ok(report)
}

/// The writes of the undisturbed runs, counted once for a commit.
async fn places(notebook: &Notebook, tell: &impl Fn(&str)) -> Result<Vec<Place>> {
    let mut places = notebook.places()?;
    if places.is_empty() {
        for run in Run::ALL {
            let written = undisturbed(run).await.context(run.verb())?;
            places.extend(Place::all(run, &written));
        }
        notebook.keep_places(&places)?;
    }
    for run in Run::ALL {
        let of_run = || places.iter().filter(|place| place.run == run);
        tell(&format!("{}: {} writes", run.verb(), of_run().count()));
        for place in of_run() {
            tell(&format!("    {} {}", place.number, place.label));
        }
    }
    Ok(places)
}

fn write(report: &Report) -> Result<()> {
    let path = Path::new(REPORT);
    let mut text = serde_json::to_string_pretty(report)?;
    text.push('\n');
    fs::write(path, text).with_context(|| format!("writing {REPORT}"))
}

/// Where the sum goes.
pub const REPORT: &str = "target/crash/report.json";
/// A case waits more than it works.
const AT_ONCE: usize = 2;
