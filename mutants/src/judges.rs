#![expect(clippy::disallowed_types, reason = "no clock is paused here")]

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

use crate::{
    build::{Built, build, check},
    copy::LeanCopy,
    judgement::{Fate, Judge, Judgement},
    judgements::Judgements,
    list::Mutant,
    run::{Ran, run},
    weaving::Weaving,
};

/// Who judges mutants. The mutated crate is built once, with all of them behind a switch.
#[derive(Debug)]
pub(crate) struct Judges {
    copy: LeanCopy,
    weaving: Weaving,
    log: PathBuf,
    /// What each runs, and how long that took without a mutant.
    ready: BTreeMap<Judge, (PathBuf, Duration)>,
}

impl Judges {
    /// Weaves the mutants in. Those that cannot be built are judged by that.
    ///
    /// # Errors
    /// The source itself cannot be built, or a judge finds something wrong with it.
    pub(crate) fn of(workspace: &Path, mutants: &[Mutant], known: &mut Judgements) -> Result<Self> {
        let numbered = mutants.iter().enumerate();
        let is_out = |mutant: &Mutant| {
            let judgement = known.of(&mutant.name);
            judgement.is_some_and(|known| known.fate == Fate::Unviable)
        };
        let out = numbered.filter(|(_, mutant)| is_out(mutant));
        let mut out: BTreeSet<_> = out.map(|(number, _)| number).collect();
        loop {
            let weaving = Weaving::of(workspace, mutants, &out)?;
            let copy = LeanCopy::of(workspace, &weaving.texts())?;
            let errors = check(&copy)?;
            if errors.is_empty() {
                return Ok(Self {
                    copy,
                    weaving,
                    log: workspace.join("target/mutants/last.log"),
                    ready: BTreeMap::new(),
                });
            }
            for (number, said) in weaving.refused(&errors)? {
                out.insert(number);
                if let Some(mutant) = mutants.get(number) {
                    known.add(Judgement {
                        name: mutant.name.clone(),
                        fate: Fate::Unviable,
                        by: None,
                        said,
                        seconds: 0.0,
                    })?;
                }
            }
        }
    }

    /// Asks the judges of a mutant, until one notices it.
    ///
    /// # Errors
    /// A judge cannot be built, or finds something wrong with the source itself.
    pub(crate) fn judge(&mut self, number: usize, mutant: &Mutant) -> Result<Judgement> {
        let began = Instant::now();
        let (fate, by, said) = if self.weaving.has(number) {
            self.ask(number, &mutant.file)?
        } else {
            self.ask_apart(mutant)?
        };
        Ok(Judgement {
            name: mutant.name.clone(),
            fate,
            by,
            said,
            seconds: began.elapsed().as_secs_f64(),
        })
    }

    fn ask(&mut self, number: usize, file: &str) -> Result<(Fate, Option<Judge>, String)> {
        for judge in Judge::of(file) {
            let (program, took) = self.ready(judge)?;
            let mut look = self.look(judge, &program);
            look.env("POINTSMAN_MUTANT", number.to_string());
            if let Some((fate, said)) = self.noticed(judge, &look, took)? {
                return Ok((fate, Some(judge), said));
            }
        }
        Ok((Fate::Survived, None, String::new()))
    }

    /// What the compiler itself computes cannot be switched: it is built alone.
    fn ask_apart(&mut self, mutant: &Mutant) -> Result<(Fate, Option<Judge>, String)> {
        for judge in Judge::of(&mutant.file) {
            self.ready(judge)?;
        }
        let planted = mutant.planted(&self.copy.original(&mutant.file)?)?;
        self.copy.write(&mutant.file, &planted)?;
        let judged = self.ask_planted(&mutant.file);
        if let Some(woven) = self.weaving.files.get(&mutant.file) {
            self.copy.write(&mutant.file, &woven.text)?;
        }
        // The programs are the planted ones now.
        self.ready.clear();
        judged
    }

    fn ask_planted(&self, file: &str) -> Result<(Fate, Option<Judge>, String)> {
        for judge in Judge::of(file) {
            let program = match build(&self.copy, judge)? {
                Built::Program(program) => program,
                Built::Refused(errors) => {
                    let said = errors.into_iter().next().map(|error| error.said);
                    return Ok((Fate::Unviable, None, said.unwrap_or_default()));
                }
            };
            let look = self.look(judge, &program);
            if let Some((fate, said)) = self.noticed(judge, &look, LONGEST)? {
                return Ok((fate, Some(judge), said));
            }
        }
        Ok((Fate::Survived, None, String::new()))
    }

    /// What a judge runs, built and tried out on the source as it is.
    fn ready(&mut self, judge: Judge) -> Result<(PathBuf, Duration)> {
        if let Some(ready) = self.ready.get(&judge) {
            return Ok(ready.clone());
        }
        let name = judge.label();
        let program = match build(&self.copy, judge)? {
            Built::Program(program) => program,
            Built::Refused(errors) => bail!("{name}: the source cannot be built: {errors:?}"),
        };
        let ready = match run(&self.look(judge, &program), &self.log, LONGEST)? {
            (Ran::Passed, took) => (program, took),
            (Ran::Failed { said }, _) => {
                bail!("{name}: the source itself fails: {}", found(judge, &said))
            }
            (Ran::TimedOut, took) => bail!("{name}: no end after {took:?} on the source itself"),
        };
        self.ready.insert(judge, ready.clone());
        Ok(ready)
    }

    fn noticed(
        &self,
        judge: Judge,
        look: &Command,
        took: Duration,
    ) -> Result<Option<(Fate, String)>> {
        let limit = (took * 5).clamp(SHORTEST, LONGEST);
        Ok(match run(look, &self.log, limit)?.0 {
            Ran::Passed => None,
            Ran::Failed { said } => Some((Fate::Caught, found(judge, &said))),
            Ran::TimedOut => Some((Fate::Timeout, format!("no end within {limit:?}"))),
        })
    }

    fn look(&self, judge: Judge, program: &Path) -> Command {
        let mut command = self.copy.command(&program.to_string_lossy());
        match judge {
            Judge::Units => {
                command.current_dir(self.copy.path("cutover"));
            }
            Judge::Simulation => {
                command.args(["--seeds", "0..200", "--until-violation"]);
            }
            Judge::Servers => {
                command.current_dir(self.copy.path("cutover"));
                command.args(PROOFS);
            }
        }
        command
    }
}

/// What a judge has found, in a line.
fn found(judge: Judge, said: &str) -> String {
    let mut lines = said.lines();
    let line = match judge {
        Judge::Units | Judge::Servers => lines
            .filter_map(|line| line.strip_prefix("test "))
            .find_map(|line| line.strip_suffix(" ... FAILED")),
        Judge::Simulation => lines.find(|line| line.contains("BROKEN")),
    };
    let last = || said.lines().rfind(|line| !line.trim().is_empty());
    line.or_else(last).unwrap_or_default().to_owned()
}

/// The tests of the proofs among those of the provider.
const PROOFS: [&str; 6] = [
    "proof::",
    "strangers::",
    "windows::",
    "fence::",
    "without_superuser::",
    "between::",
];
const SHORTEST: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(600);
