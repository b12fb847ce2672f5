//! Small changes of the machine and of the proofs: each must be noticed by a test, by the simulation, or on
//! real servers. `docs/mutants.md` says how.
#![expect(clippy::print_stdout, reason = "a program for a terminal")]

mod accepted;
mod build;
mod copy;
mod judgement;
mod judgements;
mod judges;
mod list;
mod places;
mod run;
mod summary;
mod weaving;
mod woven;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result, bail};

use accepted::Accepted;
use judgement::Judge;
use judgements::Judgements;
use judges::Judges;
use list::Mutant;
use summary::Summary;

fn main() -> Result<ExitCode> {
    let arguments = Arguments::read()?;
    let workspace = std::env::current_dir()?;
    let mutants = Mutant::all(&workspace)?;
    let accepted = Accepted::all(&workspace)?;
    let mut judgements = Judgements::open(&workspace)?;
    let chosen = |judgements: &Judgements| -> Vec<_> {
        let numbered = mutants.iter().enumerate();
        let numbered = numbered.filter(|(number, mutant)| arguments.choose(*number, mutant));
        let open = |(_, mutant): &(usize, &Mutant)| judgements.of(&mutant.name).is_none();
        numbered.filter(open).collect()
    };
    if !chosen(&judgements).is_empty() {
        let mut judges = Judges::of(&workspace, &mutants, &mut judgements)?;
        // What is quick comes first: the unit tests, and whatever is built once for all.
        for is_apart in [false, true] {
            for judge_of in [Judge::first, Judge::after] {
                for (number, mutant) in chosen(&judgements) {
                    if judges.is_apart(number) != is_apart {
                        continue;
                    }
                    let judgement = judges.judge(number, mutant, judge_of(&mutant.file))?;
                    if let Some(judgement) = judgement {
                        println!("{judgement}");
                        judgements.add(judgement)?;
                    }
                }
            }
        }
    }
    let summary = Summary::of(&workspace, &mutants, &judgements, &accepted)?;
    write(&arguments.report, &summary)?;
    println!("{}", summary.text);
    Ok(if summary.holds {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What is asked for on the command line.
struct Arguments {
    report: PathBuf,
    /// Which part of how many.
    shard: (usize, usize),
    /// Only mutants whose name has one of these in it; all, where there is none.
    like: Vec<String>,
}

impl Arguments {
    fn read() -> Result<Self> {
        let mut words = std::env::args().skip(1);
        let report = words.next().context(USAGE)?.into();
        let (mut shard, mut like) = ((0, 1), Vec::new());
        while let Some(word) = words.next() {
            let value = words.next().context(USAGE)?;
            match word.as_str() {
                "--shard" => shard = part(&value)?,
                "--like" => like.push(value),
                _ => bail!("{USAGE}"),
            }
        }
        Ok(Self {
            report,
            shard,
            like,
        })
    }

    fn choose(&self, index: usize, mutant: &Mutant) -> bool {
        let (part, parts) = self.shard;
        let is_like = |text: &String| mutant.name.contains(text.as_str());
        index % parts == part && (self.like.is_empty() || self.like.iter().any(is_like))
    }
}

/// `K/N`, counted from 0.
fn part(text: &str) -> Result<(usize, usize)> {
    let (part, parts) = text.split_once('/').context(USAGE)?;
    let (part, parts): (usize, usize) = (part.parse()?, parts.parse()?);
    if part >= parts {
        bail!(
            "{text} is no shard: of {parts} the last is {}",
            parts.saturating_sub(1)
        );
    }
    Ok((part, parts))
}

fn write(report: &Path, summary: &Summary) -> Result<()> {
    if let Some(folder) = report.parent() {
        fs::create_dir_all(folder)?;
    }
    let text = serde_json::to_string_pretty(&summary.value)?;
    fs::write(report, text).with_context(|| format!("write {}", report.display()))
}

const USAGE: &str = "usage: mutants REPORT [--shard K/N] [--like TEXT]...";
