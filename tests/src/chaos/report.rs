//! The sum of all rounds: `target/chaos/report.json`, and the table for people.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

use super::{notes::Noted, round::Round};

/// What became of everything.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What all chance follows from.
    pub seed: u64,
    /// How long it took.
    pub minutes: f64,
    /// Migrations, each with strikes.
    pub rounds: u64,
    /// Rounds in which the target came to serve.
    pub switches: u64,
    /// Rounds that ended on the source, behind a switch.
    pub rollbacks: u64,
    /// Rounds that ended on the target.
    pub completions: u64,
    /// SIGKILLs, by whom they fell on.
    pub kills: BTreeMap<&'static str, u64>,
    /// Ways through the network that were cut, by what they join.
    pub cuts: BTreeMap<&'static str, u64>,
    /// Writes that a server acknowledged.
    pub acknowledged: u64,
    /// Errors that clients saw.
    pub failed: u64,
    /// Acknowledged writes that are absent on the serving writer, or there otherwise than they were made.
    pub lost: u64,
    /// Absent ones that were named as given up, and asked for.
    pub given_up: u64,
    /// Signs that two servers accepted writes.
    pub two_writers: u64,
    /// What did not come to its end in its time.
    pub stuck: u64,
    /// What servers hold that they should not.
    pub leftovers: u64,
    /// How often an operator was asked to decide.
    pub needs_operator: u64,
    /// Rounds whose switch was undone or refused, also when everything was mended.
    pub rounds_refused: u64,
    /// `pass` or `fail`.
    pub verdict: &'static str,
    /// Of each round that broke a promise.
    pub failures: Vec<Failure>,
}

/// A round that broke a promise.
#[derive(Clone, Debug, Serialize)]
pub struct Failure {
    /// Its number; with the seed it says what was to happen.
    pub round: u64,
    /// Seconds since the first round began.
    pub from_s: u64,
    /// The same.
    pub until_s: u64,
    /// In words.
    pub faults: Vec<String>,
    /// The folder with the logs, the story and the record.
    pub logs: String,
}

impl Report {
    pub(super) fn of(seed: u64) -> Self {
        Self {
            seed,
            minutes: 0.0,
            rounds: 0,
            switches: 0,
            rollbacks: 0,
            completions: 0,
            kills: BTreeMap::new(),
            cuts: BTreeMap::new(),
            acknowledged: 0,
            failed: 0,
            lost: 0,
            given_up: 0,
            two_writers: 0,
            stuck: 0,
            leftovers: 0,
            needs_operator: 0,
            rounds_refused: 0,
            verdict: "fail",
            failures: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, round: &Round) {
        let Noted {
            kills,
            cuts,
            needs_operator,
            ..
        } = &round.noted;
        self.rounds += 1;
        self.switches += u64::from(round.switched);
        match round.ended.as_str() {
            "rolled_back" => self.rollbacks += 1,
            "completed" => self.completions += 1,
            "cancelled" => self.rounds_refused += 1,
            _ => {}
        }
        for (party, count) in kills {
            *self.kills.entry(party).or_default() += count;
        }
        for (link, count) in cuts {
            *self.cuts.entry(link).or_default() += count;
        }
        self.acknowledged += round.reckoning.acknowledged;
        self.failed += round.reckoning.failed;
        self.lost += round.reckoning.lost.len() as u64;
        self.given_up += round.reckoning.given_up;
        self.two_writers += round.two_writers.len() as u64;
        self.stuck += round.stuck.len() as u64;
        self.leftovers += round.leftovers.len() as u64;
        self.needs_operator += needs_operator;
        self.verdict = match self.holds() {
            true => "pass",
            false => "fail",
        };
    }

    /// Whether every promise was kept, and something was tried.
    #[must_use]
    pub fn holds(&self) -> bool {
        let broken = self.lost + self.two_writers + self.stuck + self.leftovers;
        broken == 0 && self.switches > 0 && self.acknowledged > 0
    }
}

/// A line for each count.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sum = |counts: &BTreeMap<&str, u64>| counts.values().sum();
        let counts: [(&str, u64); 15] = [
            ("rounds", self.rounds),
            ("switches", self.switches),
            ("rollbacks", self.rollbacks),
            ("completions", self.completions),
            ("rounds refused", self.rounds_refused),
            ("operator asked", self.needs_operator),
            ("kills", sum(&self.kills)),
            ("cuts", sum(&self.cuts)),
            ("writes acknowledged", self.acknowledged),
            ("errors of clients", self.failed),
            ("writes given up", self.given_up),
            ("writes lost", self.lost),
            ("two writers", self.two_writers),
            ("stuck", self.stuck),
            ("left over", self.leftovers),
        ];
        for (name, count) in counts {
            writeln!(f, "{name:<26} {count:>9}")?;
            let parts = match name {
                "kills" => &self.kills,
                "cuts" => &self.cuts,
                _ => continue,
            };
            for (part, count) in parts {
                writeln!(f, "    {part:<26} {count:>5}")?;
            }
        }
        write!(f, "{:.1} minutes, seed {}", self.minutes, self.seed)
    }
}
