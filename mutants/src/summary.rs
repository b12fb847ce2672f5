use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::{
    accepted::Accepted,
    judgement::{Fate, Judge},
    judgements::Judgements,
    list::Mutant,
};

/// What came of all mutants.
#[derive(Debug)]
pub(crate) struct Summary {
    pub(crate) value: Value,
    pub(crate) text: String,
    /// Whether no survivor is left that nobody has accepted, and no reason of an accepted one is void.
    pub(crate) holds: bool,
}

/// What is counted.
#[derive(Debug, Default)]
struct Counts {
    caught: u64,
    timeout: u64,
    unviable: u64,
    not_judged: u64,
    by: BTreeMap<Judge, u64>,
    seconds: f64,
    survivors: Vec<Value>,
    accepted: Vec<Value>,
    /// Which of the accepted ones were met.
    met: Vec<bool>,
}

impl Summary {
    /// # Errors
    /// A mutated file cannot be read.
    pub(crate) fn of(
        workspace: &Path,
        mutants: &[Mutant],
        judgements: &Judgements,
        accepted: &[Accepted],
    ) -> Result<Self> {
        let mut counts = Counts {
            met: vec![false; accepted.len()],
            ..Counts::default()
        };
        for mutant in mutants {
            let file = fs::read_to_string(workspace.join(&mutant.file))
                .with_context(|| format!("read {}", mutant.file))?;
            counts.add(mutant, &file, judgements, accepted);
        }
        Ok(counts.summary(mutants.len(), &judgements.commit, accepted))
    }
}

impl Counts {
    fn add(&mut self, mutant: &Mutant, file: &str, judgements: &Judgements, accepted: &[Accepted]) {
        let Some(judgement) = judgements.of(&mutant.name) else {
            self.not_judged += 1;
            return;
        };
        self.seconds += judgement.seconds;
        match judgement.fate {
            Fate::Caught => self.caught += 1,
            Fate::Timeout => self.timeout += 1,
            Fate::Unviable => self.unviable += 1,
            Fate::Survived => self.add_survivor(mutant, file, accepted),
        }
        if let Some(judge) = judgement.by {
            *self.by.entry(judge).or_default() += 1;
        }
    }

    fn add_survivor(&mut self, mutant: &Mutant, file: &str, accepted: &[Accepted]) {
        let mut survivor = json!({
            "file": mutant.file,
            "line": mutant.line(),
            "mutation": mutant.mutation(),
            "code": mutant.code(file),
        });
        let known = accepted.iter().position(|known| known.is(mutant, file));
        let Some((index, known)) = known.and_then(|index| Some((index, accepted.get(index)?)))
        else {
            self.survivors.push(survivor);
            return;
        };
        if let Some(met) = self.met.get_mut(index) {
            *met = true;
        }
        survivor["reason"] = known.reason.clone().into();
        self.accepted.push(survivor);
    }

    fn summary(self, mutants: usize, commit: &str, accepted: &[Accepted]) -> Summary {
        let met = self.met.iter().zip(accepted);
        // Where all were judged, one that is not met was caught, or is no mutant any more.
        let stale: Vec<_> = met
            .filter(|(met, _)| !**met && self.not_judged == 0)
            .map(|(_, accepted)| accepted)
            .collect();
        let holds = self.survivors.is_empty() && stale.is_empty();
        let verdict = match (holds, self.not_judged) {
            (false, _) => "fail",
            (true, 0) => "pass",
            (true, _) => "pass as far as they were judged",
        };
        let text = format!(
            "{mutants} mutants: {} caught, {} without an end, {} not viable, {} accepted, {} not judged, {} \
             survived, {} accepted for nothing; verdict: {verdict}",
            self.caught,
            self.timeout,
            self.unviable,
            self.accepted.len(),
            self.not_judged,
            self.survivors.len(),
            stale.len(),
        );
        let value = json!({
            "commit": commit,
            "mutants": mutants,
            "caught": self.caught,
            "timeout": self.timeout,
            "unviable": self.unviable,
            "not_judged": self.not_judged,
            "noticed_by": self.by.iter().map(|(judge, count)| (judge.label(), *count)).collect::<BTreeMap<_, _>>(),
            "survivors": self.survivors,
            "accepted": self.accepted,
            "accepted_for_nothing": stale,
            "seconds": self.seconds.round(),
            "verdict": verdict,
        });
        Summary { value, text, holds }
    }
}
