//! Switches by Pointsman against the same cutover done bare, round by round in one run.

use std::fmt::Write;

use anyhow::Context;
use serde::{Serialize, Serializer};

pub(crate) mod round;
mod spread;

pub use spread::Spread;

use pointsman_lab::workload::Figures;
use pointsman_lab::workload::verify::WriteAudit;
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
    /// Writes that stood behind a higher number of the same client, of both sides.
    pub out_of_order_writes: usize,
    /// Rows that nobody had written, of both sides.
    pub phantom_writes: usize,
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
    #[serde(serialize_with = "in_order")]
    pub forward: Vec<(String, f64)>,
    /// From the target back to the source.
    #[serde(serialize_with = "in_order")]
    pub rollback: Vec<(String, f64)>,
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
        let audit = floor.iter().chain(pointsman).map(|round| &round.audit);
        let audit = audit.cloned().fold(WriteAudit::default(), WriteAudit::and);
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
            lost_writes: audit.lost.len(),
            duplicate_writes: audit.duplicated.len(),
            out_of_order_writes: audit.out_of_order.len(),
            phantom_writes: audit.phantom.len(),
            steps: Steps::of(pointsman),
            floor_steps: Steps::of(floor),
        })
    }

    /// What is wrong with the data, if anything is.
    #[must_use]
    pub fn loss(&self) -> Option<String> {
        let counts = [
            (self.lost_writes, "lost"),
            (self.duplicate_writes, "applied twice"),
            (self.out_of_order_writes, "out of order"),
            (self.phantom_writes, "written by nobody"),
        ];
        let wrong = counts.iter().filter(|(count, _)| *count > 0);
        let messages: Vec<String> = wrong
            .map(|(count, how)| format!("{count} writes {how}"))
            .collect();
        (!messages.is_empty()).then(|| messages.join(", "))
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

/// The median of each step, in the order of the first leg that had it.
fn medians<'a>(legs: impl Iterator<Item = &'a Leg>) -> Vec<(String, f64)> {
    let mut samples: Vec<(&str, Vec<f64>)> = Vec::new();
    for (step, took_ms) in legs.flat_map(|leg| &leg.steps) {
        match samples.iter_mut().find(|(name, _)| name == step) {
            Some((_, sample)) => sample.push(*took_ms),
            None => samples.push((step, vec![*took_ms])),
        }
    }
    let medians = samples.into_iter();
    let medians =
        medians.filter_map(|(step, sample)| Some((step.to_owned(), Spread::of(sample)?.median)));
    medians.collect()
}

/// As an object whose fields stand in the order of the steps.
fn in_order<S: Serializer>(steps: &[(String, f64)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(steps.iter().map(|(step, took_ms)| (step, took_ms)))
}

fn line(number: usize, side: &str, round: &Round) -> String {
    let Round {
        forward,
        rollback,
        audit,
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
    format!("round {number:>2} {side:<9} forward: {there}; back: {back}; {audit}")
}
