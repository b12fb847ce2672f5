//! Each command of a switch, of its way back and of every undo, run again right after it and once more
//! with new sessions, on real servers: both times it learns, leaves behind and reports what it did the
//! first time. The record knows nothing of the runs before, as after a crash.

mod seen;
mod world;

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::time::sleep;

use super::commands::CommandRunner;
use crate::{
    Settings,
    engine::create::{self, NewMigration},
    lease,
    machine::{Command, Direction, Effect, Event, State, Step, StreamState, Transition},
    migration::{Facts, Migration},
};
use world::World;

/// A migration, driven step by step.
struct Repeated {
    world: World,
    runner: CommandRunner,
    migration: Migration,
    /// What a repetition changed.
    found: Vec<String>,
}

impl Repeated {
    /// Migration `m`, which has been started.
    async fn started() -> Result<Self> {
        let mut repeated = Self::planned(World::new().await?, "m").await?;
        repeated.happened(Event::StartRequested).await?;
        repeated.repeat().await?;
        ensure!(repeated.migration.state() == State::Prepared);
        Ok(repeated)
    }

    async fn planned(world: World, name: &str) -> Result<Self> {
        let wanted = NewMigration {
            name: name.to_owned(),
            source: "blue".parse()?,
            target: "green".parse()?,
            unlisted: [].into(),
            waived: [].into(),
            durable_way_back: false,
        };
        let migration = create::plan(&world.ports.catalog, &[], wanted).await?;
        Ok(Self {
            runner: CommandRunner::new(world.ports.clone(), settings()),
            migration,
            world,
            found: Vec::new(),
        })
    }

    /// The steps of the switch or rollback that was asked for.
    async fn steps(&mut self) -> Result<()> {
        while matches!(self.migration.state(), State::Switching { .. }) {
            self.repeat().await?;
        }
        Ok(())
    }

    /// The target serves, and the way back is proven.
    async fn switched(&mut self) -> Result<()> {
        self.happened(Event::SwitchRequested).await?;
        self.steps().await?;
        self.world.write(&self.world.pair.target).await?;
        self.repeat().await?;
        let proven = State::Baking {
            stream: StreamState::Proven,
        };
        ensure!(self.migration.state() == proven);
        Ok(())
    }

    async fn happened(&mut self, event: Event) -> Result<()> {
        let now = self.runner.clock().now();
        let Transition { machine, effects } = self.migration.machine.apply(event, now)?;
        self.migration.machine = machine;
        for effect in effects {
            match effect {
                Effect::BeginSwitch(direction) => self.migration.begin_switch(direction),
                Effect::ForgetSessions => self.runner.forget_sessions(),
                Effect::ReleaseLease => {
                    lease::release(&self.world.ports.catalog, &self.migration).await;
                    self.runner.forget_sessions();
                }
                Effect::RememberCause
                | Effect::ForgetCause
                | Effect::Journal { .. }
                | Effect::Remark(_)
                | Effect::TryAgain
                | Effect::CountRisk
                | Effect::HoldWriters => {}
            }
        }
        Ok(())
    }

    fn owed(&self) -> Result<Command> {
        let owed = self.migration.machine.command();
        owed.with_context(|| format!("nothing is owed in {:?}", self.migration.state()))
    }

    /// Runs the command that is owed until it has come to something, and changes no record but by what a
    /// next try needs.
    async fn run(&mut self) -> Result<(Event, Facts)> {
        let command = self.owed()?;
        let mut last = String::new();
        for _ in 0..TRIES {
            let outcome = self.runner.run(&self.migration, command).await;
            let (event, learned, message) = match outcome {
                Ok(proof) => (proof.event, proof.learned, proof.message),
                Err(failure) => (
                    failure.problem.event(true),
                    failure.learned,
                    failure.message,
                ),
            };
            let mut facts = self.migration.facts.clone();
            for learned in learned {
                facts.learn(learned)?;
            }
            if matches!(
                event,
                Event::Done | Event::DoneReadersMoved | Event::SourceOpened
            ) {
                return Ok((event, facts));
            }
            ensure!(
                matches!(event, Event::Unanswered | Event::NotYet),
                "{command:?}: {event:?}: {message}"
            );
            self.migration.facts = facts;
            self.runner.forget_sessions();
            last = message;
            sleep(LOOK_AGAIN).await;
        }
        bail!("{command:?} does not end: {last}")
    }

    /// Runs the command that is owed once.
    async fn once(&mut self) -> Result<()> {
        let (event, facts) = self.run().await?;
        self.migration.facts = facts;
        self.happened(event).await
    }

    /// Runs the command that is owed, and again, and goes on with what the last run learned.
    async fn repeat(&mut self) -> Result<()> {
        let command = self.owed()?;
        let (event, facts) = self.run().await?;
        let once = seen::everything(&self.world, &facts).await?;
        let mut last = facts;
        // A successor takes back what can be taken back, and runs no such step with sessions of its own.
        let undoable = matches!(self.migration.state(), State::Switching { direction, step }
            if step.can_be_undone(direction));
        let again: &[_] = if undoable {
            &["same"]
        } else {
            &["same", "new"]
        };
        for &sessions in again {
            if sessions == "new" {
                self.runner.forget_sessions();
            }
            let (reported, facts) = self
                .run()
                .await
                .with_context(|| format!("{command:?} run again with the {sessions} sessions"))?;
            let mut differs =
                seen::differences(&once, &seen::everything(&self.world, &facts).await?);
            if reported != event {
                differs.push(format!("{reported:?} instead of {event:?}"));
            }
            let told = differs
                .into_iter()
                .map(|line| format!("{command:?} with the {sessions} sessions: {line}"));
            self.found.extend(told);
            last = facts;
        }
        self.migration.facts = last;
        self.happened(event).await
    }

    /// From where it stands: up to `step` of a switch in `direction`, then an abort, whose undo is
    /// repeated. Leads back to what the servers held before.
    async fn undo(&mut self, direction: Direction, step: Step) -> Result<()> {
        let before = seen::on_servers(&self.world).await?;
        self.happened(match direction {
            Direction::Forward => Event::SwitchRequested,
            Direction::Reverse => Event::RollbackRequested,
        })
        .await?;
        let here = State::Switching { direction, step };
        while self.migration.state() != here {
            self.once().await?;
        }
        self.run().await?;
        self.happened(Event::AbortRequested).await?;
        while self
            .migration
            .machine
            .command()
            .is_some_and(|command| command != Command::Watch)
        {
            self.repeat().await?;
        }
        let after = seen::on_servers(&self.world).await?;
        // A rollback carries the sequences over, and leaves them so.
        let left = seen::differences(&before, &after).into_iter();
        let left = left.filter(|line| !line.contains(": sequence "));
        self.found
            .extend(left.map(|line| format!("undo of {direction:?} {step:?}: {line}")));
        Ok(())
    }

    fn nothing_found(&self) -> Result<()> {
        ensure!(self.found.is_empty(), "{}", self.found.join("\n"));
        Ok(())
    }
}

/// The steps of `direction` that can simply be taken back.
fn undoable(direction: Direction) -> impl Iterator<Item = Step> {
    let steps = Step::ALL.into_iter();
    steps.filter(move |step| step.can_be_undone(direction))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_a_rollback_and_each_undo_run_twice_equal_once() -> Result<()> {
    let mut migration = Repeated::started().await?;
    for step in undoable(Direction::Forward) {
        migration.undo(Direction::Forward, step).await?;
    }
    migration.switched().await?;
    for step in undoable(Direction::Reverse) {
        migration.undo(Direction::Reverse, step).await?;
    }
    migration.happened(Event::RollbackRequested).await?;
    migration.steps().await?;
    ensure!(migration.migration.state() == State::RolledBack);
    migration.nothing_found()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancellation_and_a_completion_run_twice_equal_once() -> Result<()> {
    let mut migration = Repeated::started().await?;
    migration.happened(Event::CancelRequested).await?;
    migration.repeat().await?;
    ensure!(migration.migration.state() == State::Cancelled);
    migration.nothing_found()?;
    let mut migration = Repeated::planned(migration.world, "n").await?;
    migration.happened(Event::StartRequested).await?;
    migration.repeat().await?;
    migration.switched().await?;
    migration.happened(Event::CompleteRequested).await?;
    migration.repeat().await?;
    ensure!(migration.migration.state() == State::Completed);
    migration.nothing_found()
}

/// Behind the intent to promote: the request never arrived, the target was promoted, its slots were made.
#[tokio::test(flavor = "multi_thread")]
async fn an_undo_behind_the_intent_run_twice_equals_once() -> Result<()> {
    for (step, was_done) in [
        (Step::Promote, false),
        (Step::Promote, true),
        (Step::Prime, true),
    ] {
        let mut migration = Repeated::started().await?;
        migration.happened(Event::SwitchRequested).await?;
        let direction = Direction::Forward;
        let here = State::Switching { direction, step };
        while migration.migration.state() != here {
            migration.once().await?;
        }
        if was_done {
            migration.migration.facts = migration.run().await?.1;
        }
        migration.happened(Event::Failed).await?;
        migration.happened(Event::OpenSourceChosen).await?;
        migration.repeat().await?;
        ensure!(migration.migration.state() == State::RolledBack);
        migration.nothing_found()?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_without_the_other_server_run_twice_equals_once() -> Result<()> {
    for (asked, end) in [
        (Event::OpenSourceWithoutTargetChosen, State::RolledBack),
        (Event::CompleteWithoutSourceRequested, State::Completed),
    ] {
        let mut migration = Repeated::started().await?;
        migration.switched().await?;
        let pair = &migration.world.pair;
        let gone = if end == State::Completed {
            &pair.source
        } else {
            &pair.target
        };
        gone.crash().await?;
        migration.happened(asked).await?;
        migration.repeat().await?;
        ensure!(migration.migration.state() == end);
        migration.nothing_found()?;
    }
    Ok(())
}

/// Nobody is parked, so nothing is hurried; what a promotion waits for its deadline is short.
fn settings() -> Settings {
    Settings {
        hold_budget: Duration::from_secs(120),
        settle: Duration::ZERO,
        quiet: Duration::ZERO,
        catch_up: Some(Duration::from_secs(30)),
        promote: Some(Duration::from_secs(5)),
        ..Settings::default()
    }
}

/// How often a command is run until it comes to something.
const TRIES: u32 = 200;
const LOOK_AGAIN: Duration = Duration::from_millis(50);
