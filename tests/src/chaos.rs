//! Random kills and cuts of everything, under load, there and back: `make chaos`.

mod databases;
mod evidence;
mod gates;
mod ledger;
mod notes;
mod operator;
mod plan;
mod report;
mod round;
mod stage;
mod strike;

use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::time::Instant;

pub use self::report::{Failure, Report};
use self::{ledger::GivenUp, plan::Plan, stage::Stage};

/// How long it goes on: whole rounds, until one ends behind it.
#[derive(Clone, Copy, Debug)]
pub enum Length {
    /// So many.
    Rounds(u64),
    /// As many as begin within this time.
    Time(Duration),
}

/// What rounds share until one of them breaks a promise, or for [`ROUNDS_OF_A_STAGE`] of them.
struct Standing {
    stage: Stage,
    given_up: GivenUp,
    rounds: u64,
}

/// Runs rounds; `tell` hears of each, and `keep` gets the report after each.
///
/// # Errors
/// No stage can be set, or nothing can be kept.
pub async fn run(
    length: Length,
    seed: u64,
    mut tell: impl FnMut(&str),
    mut keep: impl FnMut(&Report) -> Result<()>,
) -> Result<Report> {
    let began = Instant::now();
    let mut report = Report::of(seed);
    let mut standing: Option<Standing> = None;
    let goes_on = |report: &Report| match length {
        Length::Rounds(rounds) => report.rounds < rounds,
        Length::Time(time) => began.elapsed() < time,
    };
    while goes_on(&report) {
        let number = report.rounds + 1;
        let mut here = match standing.take() {
            Some(standing) => standing,
            None => Standing::anew(seed, number).await?,
        };
        let plan = Plan::of(seed, number, stage::SIDECARS);
        let at = began.elapsed().as_secs();
        let name = format!("m{number}");
        let round = Box::pin(here.round(&plan, &name)).await;
        report.add(&round);
        report.minutes = began.elapsed().as_secs_f64() / 60.0;
        tell(&format!("{at:>5} s  round {number}: {round}"));
        let faults = round.faults();
        if !faults.is_empty() {
            let logs = evidence::kept(&here.stage, &plan, &round, (seed, number))?;
            for fault in &faults {
                tell(&format!("         WRONG: {fault}"));
            }
            report.failures.push(Failure {
                round: number,
                from_s: at,
                until_s: began.elapsed().as_secs(),
                faults,
                logs,
            });
        }
        keep(&report)?;
        here.rounds += 1;
        if round.is_sound() && here.rounds < ROUNDS_OF_A_STAGE {
            standing = Some(here);
        } else {
            here.stage.strike_down().await?;
        }
    }
    if let Some(last) = standing {
        last.stage.strike_down().await?;
    }
    Ok(report)
}

impl Standing {
    /// A busy machine lets a first deadline pass.
    async fn anew(seed: u64, number: u64) -> Result<Self> {
        let mut left = TRIES;
        let stage = loop {
            left -= 1;
            match Box::pin(Stage::set(Plan::has_sharp_alarms(seed, number))).await {
                Err(_) if left > 0 => {}
                set => break set.with_context(|| format!("the stage of round {number}"))?,
            }
        };
        Ok(Self {
            stage,
            given_up: GivenUp::default(),
            rounds: 0,
        })
    }

    async fn round(&mut self, plan: &Plan, name: &str) -> round::Round {
        if self.rounds > 0
            && let Err(error) = self.stage.rebuild().await
        {
            return round::Round {
                stuck: vec![format!("no standby can be built: {error:#}")],
                ..round::Round::default()
            };
        }
        round::run(&mut self.stage, &mut self.given_up, plan, name).await
    }
}

/// What the servers have kept grows with each.
const ROUNDS_OF_A_STAGE: u64 = 10;
const TRIES: u32 = 3;
