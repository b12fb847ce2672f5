#![expect(clippy::disallowed_types, reason = "no clock is paused here")]

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

use crate::{
    build::{Built, build},
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
    /// What each runs.
    ready: BTreeMap<Judge, PathBuf>,
    /// How long that took without a mutant.
    took: BTreeMap<Judge, Duration>,
}

/// Whether a judge noticed anything, and what it said.
type Noticed = Option<(Fate, String)>;

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
            let errors = match build(&copy, Judge::Units)? {
                Built::Refused(errors) => errors,
                Built::Program(_) => {
                    return Ok(Self {
                        copy,
                        weaving,
                        log: workspace.join(format!("target/mutants/{}.log", std::process::id())),
                        ready: BTreeMap::new(),
                        took: BTreeMap::new(),
                    });
                }
            };
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

    /// Whether a mutant is built alone, which takes long.
    pub(crate) fn is_apart(&self, number: usize) -> bool {
        !self.weaving.has(number)
    }

    /// Asks one judge of a mutant. `None`: it notices nothing, and another one is asked later.
    ///
    /// # Errors
    /// The judge cannot be built, or finds something wrong with the source itself.
    pub(crate) fn judge(
        &mut self,
        number: usize,
        mutant: &Mutant,
        judge: Judge,
    ) -> Result<Option<Judgement>> {
        let began = Instant::now();
        let noticed = if self.weaving.has(number) {
            self.ask(number, &mutant.file, judge)?
        } else {
            self.ask_apart(mutant, judge)?
        };
        let (fate, said) = match noticed {
            None if judge == Judge::Units => return Ok(None),
            None => (Fate::Survived, String::new()),
            Some(noticed) => noticed,
        };
        Ok(Some(Judgement {
            name: mutant.name.clone(),
            by: matches!(fate, Fate::Caught | Fate::Timeout).then_some(judge),
            fate,
            said,
            seconds: began.elapsed().as_secs_f64(),
        }))
    }

    fn ask(&mut self, number: usize, file: &str, judge: Judge) -> Result<Noticed> {
        let program = self.ready(judge)?;
        for mut look in self.looks(judge, &program, file) {
            look.env("POINTSMAN_MUTANT", number.to_string());
            let noticed = self.noticed(judge, &look)?;
            if noticed.is_some() {
                return Ok(noticed);
            }
        }
        Ok(None)
    }

    /// What the compiler itself computes cannot be switched: it is built alone.
    fn ask_apart(&mut self, mutant: &Mutant, judge: Judge) -> Result<Noticed> {
        if !self.took.contains_key(&judge) {
            self.ready(judge)?;
        }
        let planted = mutant.planted(&self.copy.original(&mutant.file)?)?;
        self.copy.write(&mutant.file, &planted)?;
        let built = build(&self.copy, judge);
        let noticed = match built {
            Err(error) => Err(error),
            Ok(Built::Program(program)) => self.noticed(judge, &self.look(judge, &program)),
            Ok(Built::Refused(errors)) => {
                let said = errors.into_iter().next().map(|error| error.said);
                Ok(Some((Fate::Unviable, said.unwrap_or_default())))
            }
        };
        if let Some(woven) = self.weaving.files.get(&mutant.file) {
            self.copy.write(&mutant.file, &woven.text)?;
        }
        // The program is the planted one now.
        self.ready.clear();
        noticed
    }

    /// What a judge runs, built and tried out on the source as it is.
    fn ready(&mut self, judge: Judge) -> Result<PathBuf> {
        if let Some(ready) = self.ready.get(&judge) {
            return Ok(ready.clone());
        }
        let name = judge.label();
        let program = match build(&self.copy, judge)? {
            Built::Program(program) => program,
            Built::Refused(errors) => bail!("{name}: the source cannot be built: {errors:?}"),
        };
        let took = match run(&self.look(judge, &program), &self.log, LONGEST)? {
            (Ran::Passed, took) => took,
            (Ran::Failed { said }, _) => {
                bail!("{name}: the source itself fails: {}", found(judge, &said))
            }
            (Ran::TimedOut, took) => bail!("{name}: no end after {took:?} on the source itself"),
        };
        self.took.insert(judge, took);
        self.ready.insert(judge, program.clone());
        Ok(program)
    }

    fn noticed(&self, judge: Judge, look: &Command) -> Result<Noticed> {
        let took = self.took.get(&judge).copied().unwrap_or(LONGEST);
        let limit = (took * 5).clamp(SHORTEST, LONGEST);
        Ok(match run(look, &self.log, limit)?.0 {
            Ran::Passed => None,
            Ran::Failed { said } => Some((Fate::Caught, found(judge, &said))),
            Ran::TimedOut => Some((Fate::Timeout, format!("no end within {limit:?}"))),
        })
    }

    /// What a judge runs of `file`'s mutants: first the tests that notice most of them.
    fn looks(&self, judge: Judge, program: &Path, file: &str) -> Vec<Command> {
        let whole = self.look(judge, program);
        let mut quick = self.copy.command(&program.to_string_lossy());
        self.as_cargo(&mut quick);
        match judge {
            Judge::Units => {
                let path = file.strip_prefix("cutover/src/").unwrap_or(file);
                let beside = path.split(['/', '.']).next().unwrap_or(path);
                quick.arg(format!("{beside}::")).args(ON_SERVERS);
                vec![quick, whole]
            }
            Judge::Servers => {
                quick.args(QUICK);
                vec![quick, whole]
            }
            Judge::Simulation => vec![whole],
        }
    }

    fn look(&self, judge: Judge, program: &Path) -> Command {
        let mut command = self.copy.command(&program.to_string_lossy());
        match judge {
            Judge::Units => {
                self.as_cargo(&mut command);
                command.args(ON_SERVERS);
            }
            Judge::Simulation => {
                command.args(["--seeds", "0..200", "--until-violation"]);
            }
            Judge::Servers => {
                self.as_cargo(&mut command);
                command.args(PROOFS);
            }
        }
        command
    }

    /// Tests run where cargo runs them.
    fn as_cargo(&self, command: &mut Command) {
        let member = self.copy.path("cutover");
        command
            .env("CARGO_MANIFEST_DIR", &member)
            .env("CARGO_PKG_NAME", "pointsman-cutover")
            .current_dir(member);
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

/// Unit tests that start servers are left out: they take a minute.
const ON_SERVERS: [&str; 2] = ["--skip", "driver::twice::"];
/// The tests of the proofs among those of the provider.
const PROOFS: [&str; 4] = [
    "proof::",
    "strangers::",
    "watched::",
    "what_is_written_where_nothing_can_be_closed_is_accepted_by_name",
];
/// Those that take a few seconds.
const QUICK: [&str; 2] = ["watched::", "behind_a_fence_that_was_seen_broken"];
const SHORTEST: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(600);
