//! Switchovers by Patroni, behind HAProxy and behind PgBouncer, beside switches by Pointsman: the same clients, one run.

mod haproxy;
mod patroni;
mod pgbouncer;
mod report;
mod rest;
mod round;
mod tools;

use anyhow::{Context as _, Result};
use pointsman_lab::result_file::ResultFile;

pub use self::report::{Report, Side, Span};
use self::{
    report::Tally,
    tools::{Missing, Tools},
};
use crate::bench;

/// Where the report is written.
pub const REPORT: &str = "target/bench/peers.json";

/// Runs so many rounds of each contender, in turns; `tell` hears of each. The report is written after each round.
///
/// # Errors
/// A round did not come to its end.
pub async fn run(rounds: usize, mut tell: impl FnMut(&str)) -> Result<Report> {
    let file = ResultFile::fresh(REPORT)?;
    let (contenders, mut skipped) = (Tools::find().await, Vec::new());
    let mut peers = Vec::new();
    for (name, front, found) in contenders {
        match found {
            Ok(tools) => peers.push((name, front, tools, Tally::default())),
            Err(Missing(what)) => {
                tell(&format!("{name}: {what}: skipped"));
                skipped.push(format!("{name}: {what}"));
            }
        }
    }
    let mut ours = Tally::default();
    let mut report = Report::new(skipped);
    for number in 1..=rounds {
        for (name, front, tools, tally) in &mut peers {
            let round = Box::pin(round::run(*front, tools)).await;
            let round = round.with_context(|| format!("round {number} of {name}"))?;
            tell(&format!("round {number:>2} {name:<18} {round}"));
            report.versions.extend(tools.versions());
            tally.add(round);
        }
        let round = Box::pin(bench::round::pointsman()).await;
        let round = round.with_context(|| format!("round {number} of {OURS}"))?;
        let round = round::Round::from(round);
        tell(&format!("round {number:>2} {OURS:<18} {round}"));
        ours.add(round);
        let sides = peers
            .iter()
            .map(|(name, _, _, tally)| (*name, tally))
            .chain([(OURS, &ours)]);
        report.renew(number, sides, OURS);
        file.write(&report)?;
    }
    Ok(report)
}

const OURS: &str = "pointsman";
