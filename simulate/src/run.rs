//! One run, from its seed to its end.

use anyhow::{Context as _, Result};
use pointsman_catalog::{Declaration, OpenSessions};
use pointsman_cutover::{Status, machine::Side};
use serde::Serialize;

use crate::{
    aim::Aim,
    bystander::BYSTANDER,
    ledger::Violation,
    network::MessageFault,
    operator::{NAME, Operator},
    process::Process,
    promises,
    trouble::Trouble,
    world::{Errand, Shared, World},
};

/// What came of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    pub seed: u64,
    /// The state that the migration ended in.
    pub end: &'static str,
    pub troubles: Vec<String>,
    /// Rows that were acknowledged.
    pub acknowledged: usize,
    /// Messages of engines since the first switch was asked for.
    pub messages: u64,
    pub simulated_ms: u64,
    /// What an operator gave up by name.
    pub accepted: Vec<String>,
    pub violations: Vec<Violation>,
    /// What happened, where it was asked for.
    #[serde(skip)]
    pub trace: Vec<String>,
}

struct Run {
    shared: Shared,
    /// The one that drives, and those that were stopped.
    process: Option<Process>,
    stopped: Vec<Process>,
    /// Stopped before, and going on although another one drives.
    late: Vec<Process>,
    operator: Operator,
    over_since: Option<u64>,
    ended: bool,
}

/// What goes wrong at one message of a run in which nothing else does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    LoseRequest,
    LoseAnswer,
    Refuse,
    Die,
    DiskFull,
    CutTarget,
    RefuseAtTarget,
}

/// What is to be run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Case {
    pub seed: u64,
    /// The one message at which something goes wrong, instead of what the seed plans.
    pub crossed: Option<(u64, Fault)>,
    /// Nothing goes wrong at all.
    pub undisturbed: bool,
}

impl Case {
    /// What the seed plans.
    pub fn of(seed: u64) -> Self {
        Self {
            seed,
            crossed: None,
            undisturbed: false,
        }
    }
}

impl Fault {
    /// Every fault.
    pub const ALL: [Self; 7] = [
        Self::LoseRequest,
        Self::LoseAnswer,
        Self::Refuse,
        Self::Die,
        Self::DiskFull,
        Self::CutTarget,
        Self::RefuseAtTarget,
    ];

    fn trouble(self) -> Trouble {
        match self {
            Self::LoseRequest => Trouble::Message(MessageFault::LoseRequest),
            Self::LoseAnswer => Trouble::Message(MessageFault::LoseAnswer),
            Self::Refuse => Trouble::Message(MessageFault::Refuse),
            Self::Die => Trouble::Die { begins_again: 300 },
            Self::DiskFull => Trouble::DiskFull { lasts: 7_000 },
            Self::CutTarget => Trouble::Cut {
                side: Side::Target,
                lasts: 9_000,
            },
            Self::RefuseAtTarget => Trouble::RefuseControl {
                side: Side::Target,
                lasts: 9_000,
            },
        }
    }
}

/// Runs one case. The same case is the same run.
///
/// # Errors
/// The simulation itself is at fault.
pub fn run(case: Case, traced: bool) -> Result<Outcome> {
    let seed = case.seed;
    let mut world = World::new(seed, traced)?;
    world.green.ahead = world.rng.i64(-900..900);
    world.blue.ahead = world.rng.i64(-900..900);
    let operator = Operator::new(&mut world);
    let declared = Declared {
        rules: world.chance(70),
        bystander: world.chance(50),
    };
    world.wait_for_standbys();
    world.plan_troubles();
    if declared.bystander {
        world.bystander.appear();
    }
    if case.undisturbed || case.crossed.is_some() {
        world.troubles.clear();
        world.aims.clear();
    }
    if let Some((at, fault)) = case.crossed {
        world.troubles.insert(at, vec![fault.trouble()]);
    }
    let planned = world.troubles.iter();
    let planned = planned.flat_map(|(at, all)| all.iter().map(move |it| format!("{at}: {it:?}")));
    let aimed = world.aims.iter().flat_map(Aim::words);
    let troubles = planned.chain(aimed).collect();
    let shared = Shared::new(world);
    let mut run = Run {
        process: Some(Process::start(&shared)?),
        shared,
        stopped: Vec::new(),
        late: Vec::new(),
        operator,
        over_since: None,
        ended: false,
    };
    run.set_up(declared)?;
    run.go_to_its_end()?;
    run.outcome(seed, troubles)
}

/// What differs from run to run.
#[derive(Clone, Copy, Debug)]
struct Declared {
    /// The fence rewrites `pg_hba.conf`.
    rules: bool,
    /// There is another standby.
    bystander: bool,
}

fn declaration(declared: Declared) -> String {
    let fence = if declared.rules { "sql+hba" } else { "sql" };
    let mut text = String::new();
    let mut servers = vec![("blue", 5001), ("green", 5002)];
    if declared.bystander {
        servers.push((BYSTANDER, 5003));
    }
    for (name, port) in servers {
        text.push_str(&format!(
            "[servers.{name}]\nendpoint = \"127.0.0.1:{port}\"\nfence = \"{fence}\"\n\
             control = \"host=127.0.0.1 port={port} user=postgres\"\n"
        ));
    }
    for (name, port) in [("orders", 6432), ("billing", 6434)] {
        text.push_str(&format!(
            "[databases.{name}]\nwriter = \"blue\"\nreaders = [\"green\"]\n\
             listen = {{ writer = {port}, reader = {} }}\n",
            port + 1
        ));
    }
    text
}

impl Run {
    fn set_up(&mut self, declared: Declared) -> Result<()> {
        let declared = Declaration::parse(&declaration(declared), "simulation")?;
        let process = self.process.as_ref().context("a process")?;
        let catalog = process.catalog.clone();
        let applying = process.spawn(async move {
            catalog.apply(&declared, OpenSessions::Keep).await?;
            catalog.routes().await
        });
        while !applying.is_finished() {
            self.step()?;
        }
        let process = self.process.as_ref().context("a process")?;
        let routes = process.outcome(applying)??;
        let mut world = self.shared.world();
        world.publish(routes);
        world.start_clients();
        world.replicate();
        world.stream_back();
        for (after, errand) in [
            (60_000, Errand::Operate),
            (HEAL, Errand::Heal),
            (LONGEST, Errand::End),
        ] {
            world.after(after, move |world| world.errands.push(errand));
        }
        Ok(())
    }

    fn go_to_its_end(&mut self) -> Result<()> {
        while !self.ended {
            self.step()?;
        }
        Ok(())
    }

    /// The next event, and what engines and the run itself do about it.
    fn step(&mut self) -> Result<()> {
        let (woken, errands) = {
            let mut world = self.shared.world();
            if !world.woken {
                let next = world.schedule.next().context("nothing happens any more")?;
                next(&mut world);
            }
            (
                std::mem::take(&mut world.woken),
                std::mem::take(&mut world.errands),
            )
        };
        for errand in errands {
            self.errand(errand)?;
        }
        if woken {
            for process in self.process.iter().chain(&self.late) {
                process.go_on();
            }
        }
        Ok(())
    }

    fn errand(&mut self, errand: Errand) -> Result<()> {
        if errand != Errand::Operate {
            self.shared.world().note(|_| format!("RUN: {errand:?}"));
        }
        match errand {
            Errand::Kill => {
                self.operator.hears_nothing_more();
                self.process = None;
            }
            Errand::Supersede => {
                self.operator.hears_nothing_more();
                if let Some(process) = self.process.take() {
                    process.store.lose();
                    self.stopped.push(process);
                }
            }
            Errand::Continue => self.late.append(&mut self.stopped),
            Errand::Start => self.start()?,
            Errand::Operate => self.operate(),
            Errand::Ring => {
                if let Some(process) = &self.process {
                    process.ring();
                }
            }
            Errand::Abort => {
                if let Some(process) = &self.process {
                    self.operator.abort(process, &mut self.shared.world());
                }
            }
            Errand::TakeForDown => {
                if let Some(process) = &self.process {
                    self.operator
                        .take_for_down(process, &mut self.shared.world());
                }
            }
            Errand::Heal => self.heal(),
            Errand::End => self.ended = true,
        }
        self.shared.world().woken = true;
        Ok(())
    }

    fn start(&mut self) -> Result<()> {
        if self.process.is_some() {
            return Ok(());
        }
        let process = Process::start(&self.shared)?;
        let (engine, catalog) = (process.engine.clone(), process.catalog.clone());
        let shared = self.shared.clone();
        drop(process.spawn(async move {
            // What was recorded and not sent is sent now.
            if let Ok(routes) = catalog.routes().await {
                shared.world().publish(routes);
            }
            engine.resume().await
        }));
        self.process = Some(process);
        Ok(())
    }

    /// One process is left, a new one: of two that were at work either may have been the newer.
    fn heal(&mut self) {
        if self.operator.healed {
            return;
        }
        self.stopped.clear();
        self.late.clear();
        self.process = None;
        self.operator.hears_nothing_more();
        self.operator.healed = true;
        let mut world = self.shared.world();
        world.heal();
        // The store ends with its process: what is on its way to the disk is there before the next one
        // reads.
        world.after(ON_ITS_WAY, |world| world.errands.push(Errand::Start));
    }

    fn status(&self) -> Option<Status> {
        let process = self.process.as_ref()?;
        process.engine.status(NAME).ok()
    }

    fn operate(&mut self) {
        let status = self.status();
        let mut world = self.shared.world();
        world.after(OPERATE, |world| world.errands.push(Errand::Operate));
        if let Some(status) = &status {
            promises::while_it_runs(&mut world, status);
        }
        if let Some(process) = &self.process {
            self.operator.look(process, &mut world, status.as_ref());
        }
        let is_over = status.is_some_and(|status| status.migration.state().is_over());
        let now = world.now();
        if is_over && world.over_at.is_none() {
            world.over_at = Some(now);
            world.errands.push(Errand::Heal);
        }
        if !is_over {
            self.over_since = None;
        } else if now > *self.over_since.get_or_insert(now) + SETTLED {
            self.ended = true;
        }
    }

    fn outcome(mut self, seed: u64, troubles: Vec<String>) -> Result<Outcome> {
        let status = self.status();
        self.shared.world().ended = true;
        let record = self.process.as_ref().map(|process| {
            let journal = pointsman_cutover::journal::Journal::new(
                process.store.clone(),
                process.clock.clone(),
            );
            process.outcome(process.spawn(async move { journal.replay(NAME).await }))
        });
        let record = match record {
            Some(Ok(Ok(replay))) => Some(replay),
            Some(Ok(Err(_)) | Err(_)) | None => None,
        };
        let end = status
            .as_ref()
            .map_or("no record", |status| status.migration.state().label());
        if troubles.is_empty() {
            promises::undisturbed(&mut self.shared.world(), status.as_ref());
        }
        promises::at_the_end(
            &mut self.shared.world(),
            status.as_ref(),
            record.as_ref(),
            &self.operator,
        );
        self.process = None;
        self.stopped.clear();
        self.late.clear();
        let mut world = self.shared.world();
        let mut trace = world.take_trace();
        if let Some(status) = status.filter(|_| !trace.is_empty()) {
            trace.push(status.headline.clone());
            for entry in status.entries.iter() {
                trace.push(format!(
                    "{:>3} {:?} {} {} {}",
                    entry.switch, entry.kind, entry.step, entry.message, entry.evidence
                ));
            }
        }
        Ok(Outcome {
            seed,
            end,
            troubles,
            acknowledged: world
                .ledger
                .rows
                .iter()
                .filter(|row| row.acknowledged)
                .count(),
            messages: world.messages,
            simulated_ms: world.now() / 1000,
            accepted: self.operator.accepted.clone(),
            violations: std::mem::take(&mut world.ledger.violations),
            trace,
        })
    }
}

/// Between two looks of the operator's.
const OPERATE: u64 = 20_000;
/// No message takes longer, in microseconds.
const ON_ITS_WAY: u64 = 5_000;
/// From then on nothing goes wrong.
const HEAL: u64 = 14_000_000;
const LONGEST: u64 = 70_000_000;
/// What is still on its way when the migration is over has arrived then.
const SETTLED: u64 = 800_000;
