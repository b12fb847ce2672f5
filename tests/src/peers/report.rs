//! What a run tells.

use std::{collections::BTreeMap, fmt::Write as _};

use pointsman_lab::workload::{Figures, verify::WriteAudit};
use serde::Serialize;

use super::round::{Round, failed_statements};
use crate::bench::Spread;

/// The content of `target/bench/peers.json`. Times are in milliseconds.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Rounds of each contender, two switches each.
    pub rounds: usize,
    /// How this program and Pointsman were built: `debug` or `release`.
    pub profile: &'static str,
    /// What was left out, and why.
    pub skipped: Vec<String>,
    /// What each program says of its version.
    pub versions: BTreeMap<String, String>,
    /// By contender.
    pub sides: BTreeMap<&'static str, Side>,
    /// Whether every contender kept every acknowledged write.
    pub valid: bool,
}

/// One contender.
#[derive(Clone, Debug, Serialize)]
pub struct Side {
    /// How many switches each figure is made of.
    pub switches: usize,
    /// From the last write that the old primary acknowledged to the first that the new one did.
    pub write_pause_ms: Span,
    /// The longest time that any one writer waited for the acknowledgement of a write.
    pub worst_client_ms: Span,
    /// Sessions that could not be opened.
    pub failed_connects: Span,
    /// All other errors.
    pub failed_statements: Span,
    /// Median write pause by that of Pointsman.
    pub write_pause_by_pointsmans: f64,
    /// Acknowledged writes that were absent in the end.
    pub lost_writes: usize,
    /// Writes that were there more than once.
    pub duplicate_writes: usize,
    /// Writes that stood behind a higher number of the same client.
    pub out_of_order_writes: usize,
    /// Rows that nobody had written.
    pub phantom_writes: usize,
}

/// A sample's middle and ends.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Span {
    /// The middle value, or the mean of the two.
    pub median: f64,
    /// The smallest value.
    pub min: f64,
    /// The largest value.
    pub max: f64,
}

/// The rounds of one contender so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    switches: Vec<Figures>,
    audit: WriteAudit,
}

impl Tally {
    pub(super) fn add(&mut self, round: Round) {
        self.switches.extend(round.switches);
        self.audit = std::mem::take(&mut self.audit).and(round.audit);
    }

    fn span(&self, figure: impl Fn(&Figures) -> f64) -> Option<Span> {
        Span::of(self.switches.iter().map(figure))
    }
}

impl Report {
    pub(super) fn new(skipped: Vec<String>) -> Self {
        Self {
            rounds: 0,
            profile: if cfg!(debug_assertions) {
                "debug"
            } else {
                "release"
            },
            skipped,
            versions: BTreeMap::new(),
            sides: BTreeMap::new(),
            valid: false,
        }
    }

    /// Takes the figures of all rounds so far; `ours` is the name of Pointsman's side.
    pub(super) fn renew<'a>(
        &mut self,
        rounds: usize,
        tallies: impl Iterator<Item = (&'static str, &'a Tally)>,
        ours: &str,
    ) {
        let sides = tallies.filter_map(|(name, tally)| Some((name, Side::of(tally)?)));
        self.rounds = rounds;
        self.sides = sides.collect();
        let pause = self.sides.get(ours).map(|side| side.write_pause_ms.median);
        for side in self.sides.values_mut() {
            side.write_pause_by_pointsmans = side.write_pause_ms.median / pause.unwrap_or(f64::NAN);
        }
        self.valid = self.sides.values().all(Side::kept_every_write);
    }

    /// The figures as a short table for people.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = format!(
            "{:<18} {:>8}  {:>26}  {:>26}  {:>18}  {:>18} {:>6}\n",
            "median (min to max)",
            "switches",
            "write pause, ms",
            "worst client, ms",
            "failed connects",
            "failed statements",
            "lost"
        );
        for (name, side) in &self.sides {
            // Writing to a String cannot fail.
            writeln!(
                text,
                "{name:<18} {:>8}  {:>26}  {:>26}  {:>18}  {:>18} {:>6}",
                side.switches,
                side.write_pause_ms.text(1),
                side.worst_client_ms.text(1),
                side.failed_connects.text(0),
                side.failed_statements.text(0),
                side.lost_writes
            )
            .ok();
        }
        for skipped in &self.skipped {
            writeln!(text, "skipped: {skipped}").ok();
        }
        text
    }
}

impl Side {
    fn of(tally: &Tally) -> Option<Self> {
        let WriteAudit {
            lost,
            duplicated,
            out_of_order,
            phantom,
            ..
        } = &tally.audit;
        Some(Self {
            switches: tally.switches.len(),
            write_pause_ms: tally.span(|figures| figures.write_pause_ms)?,
            worst_client_ms: tally.span(|figures| figures.worst_client_ms)?,
            failed_connects: tally.span(|figures| count(figures.connect_errors))?,
            failed_statements: tally.span(|figures| count(failed_statements(figures)))?,
            write_pause_by_pointsmans: f64::NAN,
            lost_writes: lost.len(),
            duplicate_writes: duplicated.len(),
            out_of_order_writes: out_of_order.len(),
            phantom_writes: phantom.len(),
        })
    }

    fn kept_every_write(&self) -> bool {
        self.lost_writes + self.duplicate_writes + self.out_of_order_writes + self.phantom_writes
            == 0
    }
}

impl Span {
    fn of(sample: impl Iterator<Item = f64>) -> Option<Self> {
        let sample: Vec<f64> = sample.collect();
        let Spread { median, max, .. } = Spread::of(sample.iter().copied())?;
        let min = sample.into_iter().reduce(f64::min)?;
        Some(Self { median, min, max })
    }

    fn text(self, digits: usize) -> String {
        let Self { median, min, max } = self;
        format!("{median:.digits$} ({min:.digits$} to {max:.digits$})")
    }
}

fn count(errors: u64) -> f64 {
    f64::from(u32::try_from(errors).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_has_both_ends() {
        let span = Span::of([3.0, 1.0, 8.0].into_iter()).unwrap();
        assert_eq!(span.text(0), "3 (1 to 8)");
        assert_eq!(Span::of([].into_iter()), None);
    }

    #[test]
    fn a_run_without_a_round_is_not_valid() {
        assert!(!Report::new(Vec::new()).valid);
    }
}
