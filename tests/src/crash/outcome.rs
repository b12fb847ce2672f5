//! A case with all its trials, held against what was written down beforehand.

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{
    cell::Cell,
    expectation::expected,
    trial::{self, Trial},
};

/// What came of a cell.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Outcome {
    /// The cell.
    pub cell: Cell,
    /// The cell in words.
    pub name: String,
    /// The states in which it may settle.
    pub expected: Vec<String>,
    /// One trial; where an operator was asked, one for each choice.
    pub trials: Vec<Trial>,
    /// What did not happen at all.
    pub failure: Option<String>,
    /// How long it took.
    pub seconds: f64,
}

impl Outcome {
    /// Runs `cell`, once for each choice that an operator is offered.
    pub async fn of(cell: Cell) -> Self {
        let began = Instant::now();
        let (mut trials, mut failure) = (Vec::<Trial>::new(), None);
        loop {
            match trial::run(&cell, trials.len()).await {
                Ok(trial) => trials.push(trial),
                Err(error) => {
                    failure = Some(format!("{error:#}"));
                    break;
                }
            }
            let choices = trials.first().map_or(0, |first| first.choices.len());
            if trials.len() >= choices {
                break;
            }
        }
        Self {
            name: cell.to_string(),
            expected: expected(&cell)
                .iter()
                .map(|state| (*state).to_owned())
                .collect(),
            cell,
            trials,
            failure,
            seconds: began.elapsed().as_secs_f64(),
        }
    }

    /// Where it settled, as its first trial has it.
    #[must_use]
    pub fn settled(&self) -> &str {
        let first = self.trials.first();
        first.map_or("nowhere", |trial| trial.settled.as_str())
    }

    /// Whether an operator was asked.
    #[must_use]
    pub fn asked(&self) -> bool {
        self.settled() == "needs_operator"
    }

    /// Everything that was not to be, in words.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let mut faults: Vec<String> = self.failure.iter().cloned().collect();
        for trial in &self.trials {
            if !self.expected.contains(&trial.settled) {
                let (settled, expected) = (&trial.settled, self.expected.join(" or "));
                faults.push(format!("settled in {settled} instead of {expected}"));
            }
            for (kind, found) in [
                ("lost writes", &trial.lost_writes),
                ("two writers", &trial.two_writers),
                ("stuck", &trial.stuck_holds),
                ("left over", &trial.leftovers),
            ] {
                if !found.is_empty() {
                    faults.push(format!("{kind}: {}", found.join("; ")));
                }
            }
        }
        faults
    }
}
