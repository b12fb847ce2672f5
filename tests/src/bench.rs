//! Switches by Pointsman against the same cutover done bare, round by round in one run.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::Context;
use serde::Serialize;

mod round;
mod spread;

pub use spread::Spread;

use crate::workload::Figures;
use round::{Leg, Round};

/// The content of `target/bench/switch.json`. Times are in milliseconds.
#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    /// How many switches each figure is made of.
    pub rounds: usize,
    /// The cutover by plain SQL, without sidecars.
    pub floor: Side,
    /// The same by Pointsman, through three sidecars.
    pub pointsman: Side,
    /// Median write pause of Pointsman's switches forward by that of the floor's.
    pub ratio_forward: f64,
    /// The same for the way back.
    pub ratio_rollback: f64,
    /// Sessions that could not be opened through the sidecars during a switch.
    pub connect_errors: u64,
    /// Acknowledged writes that were absent in the end, of both sides.
    pub lost_writes: usize,
    /// Writes that were there more than once, of both sides.
    pub duplicate_writes: usize,
    /// Median of each step that Pointsman's record names.
    pub steps: Steps,
    /// Median of each step of the floor.
    pub floor_steps: Steps,
}

/// Both directions of one side.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Side {
    /// From the source to the target.
    pub forward: Cost,
    /// From the target back to the source.
    pub rollback: Cost,
}

/// What switches in one direction cost the clients.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Cost {
    /// From the last write that the old writer acknowledged to the first that the new one did.
    pub write_pause_ms: Spread,
    /// The longest time that any one writer waited for the acknowledgement of a write.
    pub worst_client_ms: Spread,
    /// The longest time that any one reader waited for an answer.
    pub reader_gap_ms: Spread,
}

/// Median milliseconds by step.
#[derive(Debug, Clone, Serialize)]
pub struct Steps {
    /// From the source to the target.
    pub forward: BTreeMap<String, f64>,
    /// From the target back to the source.
    pub rollback: BTreeMap<String, f64>,
}

/// Runs so many rounds of both sides, in turns; `tell` hears of each.
///
/// # Errors
/// A round did not come to its end.
pub async fn run(rounds: usize, mut tell: impl FnMut(&str)) -> anyhow::Result<Comparison> {
    let (mut floor, mut pointsman) = (Vec::new(), Vec::new());
    for number in 1..=rounds {
        let measured = round::bare().await;
        let measured = measured.with_context(|| format!("round {number} of the floor"))?;
        tell(&line(number, "floor", &measured));
        floor.push(measured);
        let measured = round::pointsman().await;
        let measured = measured.with_context(|| format!("round {number} of Pointsman"))?;
        tell(&line(number, "pointsman", &measured));
        pointsman.push(measured);
    }
    Comparison::of(&floor, &pointsman).context("no round was run")
}

impl Comparison {
    fn of(floor: &[Round], pointsman: &[Round]) -> Option<Self> {
        let both = || floor.iter().chain(pointsman);
        let (floor_side, pointsman_side) = (Side::of(floor)?, Side::of(pointsman)?);
        let ratio =
            |ours: Cost, bare: Cost| ours.write_pause_ms.median / bare.write_pause_ms.median;
        let legs = pointsman
            .iter()
            .flat_map(|round| [&round.forward, &round.rollback]);
        Some(Self {
            rounds: pointsman.len(),
            floor: floor_side,
            pointsman: pointsman_side,
            ratio_forward: ratio(pointsman_side.forward, floor_side.forward),
            ratio_rollback: ratio(pointsman_side.rollback, floor_side.rollback),
            connect_errors: legs.map(|leg| leg.figures.connect_errors).sum(),
            lost_writes: both().map(|round| round.verdict.lost.len()).sum(),
            duplicate_writes: both().map(|round| round.verdict.duplicated.len()).sum(),
            steps: Steps::of(pointsman),
            floor_steps: Steps::of(floor),
        })
    }

    /// The figures as a short table for people.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = format!(
            "{:<22} {:>29}  {:>29}\n{:<22} {:>9} {:>9} {:>9}  {:>9} {:>9} {:>9}\n",
            "milliseconds",
            "write pause",
            "worst client",
            "",
            "median",
            "p95",
            "max",
            "median",
            "p95",
            "max"
        );
        let rows = [
            ("floor forward", self.floor.forward),
            ("pointsman forward", self.pointsman.forward),
            ("floor rollback", self.floor.rollback),
            ("pointsman rollback", self.pointsman.rollback),
        ];
        for (
            name,
            Cost {
                write_pause_ms: pause,
                worst_client_ms: worst,
                ..
            },
        ) in rows
        {
            // Writing to a String cannot fail.
            writeln!(
                text,
                "{name:<22} {:>9.1} {:>9.1} {:>9.1}  {:>9.1} {:>9.1} {:>9.1}",
                pause.median, pause.p95, pause.max, worst.median, worst.p95, worst.max
            )
            .ok();
        }
        let Self {
            ratio_forward,
            ratio_rollback,
            connect_errors,
            lost_writes,
            rounds,
            ..
        } = self;
        writeln!(
            text,
            "{rounds} rounds; ratio forward {ratio_forward:.2}, rollback {ratio_rollback:.2}; \
             {connect_errors} connect errors, {lost_writes} lost"
        )
        .ok();
        text
    }
}

impl Side {
    fn of(rounds: &[Round]) -> Option<Self> {
        Some(Self {
            forward: Cost::of(rounds, |round| &round.forward)?,
            rollback: Cost::of(rounds, |round| &round.rollback)?,
        })
    }
}

impl Cost {
    fn of(rounds: &[Round], leg: fn(&Round) -> &Leg) -> Option<Self> {
        let spread = |figure: fn(&Figures) -> f64| {
            Spread::of(rounds.iter().map(|round| figure(&leg(round).figures)))
        };
        Some(Self {
            write_pause_ms: spread(|figures| figures.write_pause_ms)?,
            worst_client_ms: spread(|figures| figures.worst_client_ms)?,
            reader_gap_ms: spread(|figures| figures.reader_gap_ms)?,
        })
    }
}

impl Steps {
    fn of(rounds: &[Round]) -> Self {
        Self {
            forward: medians(rounds.iter().map(|round| &round.forward)),
            rollback: medians(rounds.iter().map(|round| &round.rollback)),
        }
    }
}

fn medians<'a>(legs: impl Iterator<Item = &'a Leg>) -> BTreeMap<String, f64> {
    let mut samples: BTreeMap<&String, Vec<f64>> = BTreeMap::new();
    for (step, took_ms) in legs.flat_map(|leg| &leg.steps) {
        samples.entry(step).or_default().push(*took_ms);
    }
    let medians = samples
        .into_iter()
        .filter_map(|(step, sample)| Some((step.clone(), Spread::of(sample)?.median)));
    medians.collect()
}

fn line(number: usize, side: &str, round: &Round) -> String {
    let Round {
        forward,
        rollback,
        verdict,
    } = round;
    let cost = |leg: &Leg| {
        let Figures {
            write_pause_ms,
            worst_client_ms,
            connect_errors,
            ..
        } = leg.figures;
        format!(
            "pause {write_pause_ms:.1} ms, worst client {worst_client_ms:.1} ms, {connect_errors} connect errors"
        )
    };
    let (there, back) = (cost(forward), cost(rollback));
    format!("round {number:>2} {side:<9} forward: {there}; back: {back}; {verdict}")
}
