//! Sessions that try to write on a server that is left, at every phase of a switch.

mod attack;
mod bake;
mod naming;
mod operator;
mod round;

use std::{collections::BTreeMap, env};

use anyhow::{Context as _, Result};
use pointsman_lab::{result_file::ResultFile, workload::verify::WriteAudit};
use serde::Serialize;

pub use self::attack::Kind;
use self::round::Round;

/// Where the report is written.
pub const REPORT: &str = "target/adversaries/report.json";

/// What became of what they wrote.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Switches that were asked for, there and back.
    pub switches: usize,
    /// Tries to write, by the kind of the session.
    pub tries: BTreeMap<Kind, u64>,
    /// Those that a server acknowledged.
    pub acknowledged: BTreeMap<Kind, u64>,
    /// Acknowledged in the bake by the server that had been left, or by one that somebody promoted.
    pub in_the_bake: u64,
    /// The longest time until `status` named such a one by transaction and database, or by the server that
    /// somebody promoted, in seconds.
    pub named_within_s: f64,
    /// Those that it did not name in time.
    pub not_named: Vec<String>,
    /// Requests that were refused until an operator gave up what was named.
    pub refused_until_accepted: u64,
    /// Acknowledged, given up by an operator's word, and named before.
    pub given_up_by_name: u64,
    /// Transactions that an operator's word gave up, as a rollback counted them: the applications' are
    /// among them.
    pub given_up_by_word: u64,
    /// Acknowledged and absent on the writer at the end, without having been named.
    pub dropped: Vec<String>,
    /// Writes of the applications' clients that are absent on it, or there otherwise than they were made.
    pub lost_writes: Vec<String>,
    /// How many rounds ended in each state.
    pub ended: BTreeMap<String, u64>,
    /// `pass` or `fail`.
    pub verdict: &'static str,
}

/// Runs so many switches, half of them back; `tell` hears of each round.
///
/// # Errors
/// A round did not come to its end.
pub async fn run(switches: usize, seed: u64, mut tell: impl FnMut(&str)) -> Result<Report> {
    let file = ResultFile::fresh(REPORT)?;
    let mut report = Report::default();
    let mut number = 0;
    while report.switches < switches {
        let plan = round::Plan::of(seed, number);
        let round = round::run(plan).await;
        let round = round.with_context(|| format!("round {number}, {plan:?}"))?;
        tell(&format!("round {number:>2}: {plan:?}: {round}"));
        report.add(round);
        report.verdict = if report.holds() { "pass" } else { "fail" };
        file.write(&report)?;
        number += 1;
    }
    Ok(report)
}

/// `POINTSMAN_SEED`, or one that is good for anything.
///
/// # Errors
/// It is no number.
pub fn seed() -> Result<u64> {
    match env::var("POINTSMAN_SEED") {
        Ok(text) => text.parse().context("POINTSMAN_SEED"),
        Err(_unset) => Ok(1),
    }
}

impl Report {
    fn add(&mut self, round: Round) {
        let Round {
            kind,
            switches,
            tries,
            acknowledged,
            in_the_bake,
            named_within_s,
            not_named,
            refused,
            given_up_by_name,
            given_up_by_word,
            dropped,
            audit,
            ended,
        } = round;
        self.switches += switches;
        *self.tries.entry(kind).or_default() += tries;
        *self.acknowledged.entry(kind).or_default() += acknowledged;
        self.in_the_bake += in_the_bake;
        self.named_within_s = self.named_within_s.max(named_within_s);
        self.not_named.extend(not_named);
        self.refused_until_accepted += refused;
        self.given_up_by_name += given_up_by_name;
        self.given_up_by_word += given_up_by_word;
        self.dropped.extend(dropped);
        let given_up = is_given_up(&audit, given_up_by_word);
        if !audit.is_clean() && !given_up {
            self.lost_writes.push(audit.to_string());
        }
        *self.ended.entry(ended).or_default() += 1;
    }

    /// Whether nothing was dropped without a word, and all was named in time.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.not_named.is_empty() && self.dropped.is_empty() && self.lost_writes.is_empty()
    }
}

/// Whether nothing but what an operator gave up is absent.
fn is_given_up(audit: &WriteAudit, given_up: u64) -> bool {
    let WriteAudit {
        lost,
        duplicated,
        out_of_order,
        phantom,
        rows: _,
    } = audit;
    let others = duplicated.len() + out_of_order.len() + phantom.len();
    others == 0 && lost.len() as u64 <= given_up
}
