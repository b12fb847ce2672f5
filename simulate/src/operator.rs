//! Somebody who begins a migration, decides where it must be decided, and ends it.

use std::sync::Arc;

use pointsman_cutover::{
    Engine, NewMigration, Status,
    machine::{Side, State},
};
use tokio::task::JoinHandle;

use crate::{network::name, process::Process, world::World};

/// How the operator wants the migration to end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Wish {
    GoBack,
    Complete,
    Alarm,
    Cancel,
}

/// What was asked last.
type Asked = JoinHandle<Result<(), String>>;

/// The operator, with a plan.
#[derive(Debug)]
pub(crate) struct Operator {
    wish: Wish,
    bake: u64,
    asked: Option<Asked>,
    switches: u32,
    refusals: u32,
    decisions: u32,
    baked_since: Option<u64>,
    wait_until: u64,
    /// Everything that could come back has.
    pub(crate) healed: bool,
    /// What was given up, in words.
    pub(crate) accepted: Vec<String>,
    pub(crate) last_refusal: String,
}

pub(crate) const NAME: &str = "m";

impl Operator {
    pub(crate) fn new(world: &mut World) -> Self {
        let wish = match world.some(0..20) {
            0..=8 => Wish::GoBack,
            9..=13 => Wish::Complete,
            14..=17 => Wish::Alarm,
            _ => Wish::Cancel,
        };
        Self {
            wish,
            bake: world.some(200_000..4_000_000),
            asked: None,
            switches: 0,
            refusals: 0,
            decisions: 0,
            baked_since: None,
            wait_until: 0,
            healed: false,
            accepted: Vec::new(),
            last_refusal: String::new(),
        }
    }

    /// The process that was asked is gone.
    pub(crate) fn hears_nothing_more(&mut self) {
        self.asked = None;
    }

    /// Looks where the migration stands, and does what is next.
    pub(crate) fn look(&mut self, process: &Process, world: &mut World, status: Option<&Status>) {
        if let Some(asked) = self.asked.take_if(|asked| asked.is_finished()) {
            match process.outcome(asked) {
                Ok(Ok(())) => self.refusals = 0,
                Ok(Err(refusal)) => self.was_refused(world, refusal),
                Err(panicked) => self.was_refused(world, panicked.to_string()),
            }
        }
        if self.asked.is_some() || world.now() < self.wait_until {
            return;
        }
        let Some(status) = status else {
            return self.ask(process, world, "create", |engine| async move {
                let wanted = NewMigration {
                    name: NAME.to_owned(),
                    source: "blue".parse().map_err(|_| "no name".to_owned())?,
                    target: "green".parse().map_err(|_| "no name".to_owned())?,
                    unlisted: [("template1".to_owned(), CLOSED)].into(),
                    waived: Default::default(),
                    durable_way_back: false,
                };
                done(engine.create(wanted).await)
            });
        };
        if status.not_driven.is_some() {
            return;
        }
        self.decide(process, world, status);
    }

    fn was_refused(&mut self, world: &mut World, refusal: String) {
        world.note(|_| format!("operator is refused: {refusal}"));
        self.refusals += 1;
        self.last_refusal = refusal;
        self.wait_until = world.now() + world.some(100_000..700_000);
    }

    fn decide(&mut self, process: &Process, world: &mut World, status: &Status) {
        match status.migration.state() {
            State::Planned if self.switches > 0 || self.refusals > PATIENCE => {
                self.ask(process, world, "cancel", |engine| async move {
                    done(engine.cancel(NAME).await)
                });
            }
            State::Planned => self.ask(process, world, "start", |engine| async move {
                done(engine.preflight(NAME).await)?;
                done(engine.start(NAME).await)
            }),
            State::Prepared | State::Undone => self.switch_or_cancel(process, world),
            State::Baking { .. } => self.end_bake(process, world),
            State::NeedsOperator { .. } => self.choose(process, world, status),
            State::SettingUp
            | State::Switching { .. }
            | State::Promoting { .. }
            | State::Undoing { .. }
            | State::RolledBack
            | State::Completing
            | State::Completed
            | State::Cancelling
            | State::Cancelled
            | State::Abandoned => {}
        }
    }

    fn switch_or_cancel(&mut self, process: &Process, world: &mut World) {
        let most = if self.healed { 6 } else { 3 };
        if (self.wish == Wish::Cancel && self.switches > 0) || self.switches >= most {
            return self.ask(process, world, "cancel", |engine| async move {
                done(engine.cancel(NAME).await)
            });
        }
        self.switches += 1;
        world.counting = true;
        self.ask(process, world, "switch", |engine| async move {
            done(engine.switch(NAME).await)
        });
    }

    fn end_bake(&mut self, process: &Process, world: &mut World) {
        let now = world.now();
        let since = *self.baked_since.get_or_insert(now);
        if now < since + self.bake && !self.healed {
            return;
        }
        let gives_up = self.healed && self.refusals >= PATIENCE;
        match self.wish {
            Wish::Alarm if !self.healed => {
                process.ring();
                self.wait_until = now + 2_000_000;
            }
            Wish::Complete if gives_up => {
                self.accepted
                    .push("what others wrote on the source".to_owned());
                self.ask(
                    process,
                    world,
                    "complete --accept-loss",
                    |engine| async move {
                        done(engine.accept_source_writes(NAME).await)?;
                        done(engine.complete(NAME, false).await)
                    },
                );
            }
            Wish::Complete => self.ask(process, world, "complete", |engine| async move {
                done(engine.complete(NAME, false).await)
            }),
            Wish::GoBack | Wish::Alarm | Wish::Cancel if gives_up => {
                self.accepted.push("what going back loses".to_owned());
                self.ask(
                    process,
                    world,
                    "rollback --accept-loss",
                    |engine| async move { done(engine.rollback(NAME, true).await) },
                );
            }
            Wish::GoBack | Wish::Alarm | Wish::Cancel => {
                self.ask(process, world, "rollback", |engine| async move {
                    done(engine.rollback(NAME, false).await)
                });
            }
        }
    }

    /// Words are true: whoever says that a server is down for good sees to it.
    fn choose(&mut self, process: &Process, world: &mut World, status: &Status) {
        let now = world.now();
        self.decisions += 1;
        // Whoever promotes other servers is stopped first.
        world.bystander.heal();
        self.wait_until = now + world.some(150_000..900_000);
        let names: Vec<_> = status
            .choices
            .iter()
            .map(|choice| choice.name.as_str())
            .collect();
        let true_ones: Vec<_> = names
            .iter()
            .copied()
            .filter(|name| matches!(*name, "retry" | "open-source"))
            .collect();
        let choice = if self.decisions <= LAST_RESORT && !true_ones.is_empty() {
            *true_ones
                .get(self.decisions as usize % true_ones.len())
                .unwrap_or(&"retry")
        } else if let Some(name) = names.iter().find(|name| name.ends_with("target-is-down")) {
            world.green.crash();
            world.green_is_gone = true;
            self.accepted.push("the target".to_owned());
            name
        } else if let Some(name) = names.iter().find(|name| name.ends_with("source-is-down")) {
            world.blue.crash();
            world.blue_is_gone = true;
            self.accepted.push("the source".to_owned());
            name
        } else {
            return;
        };
        let choice = choice.to_owned();
        let said = choice.clone();
        self.ask(process, world, &said, |engine| async move {
            done(engine.resolve(NAME, &choice).await)
        });
    }

    pub(crate) fn abort(&mut self, process: &Process, world: &mut World) {
        world.note(|_| "operator aborts or goes back".to_owned());
        let engine = Arc::clone(&process.engine);
        drop(process.spawn(async move {
            // Whether it is taken shows in the status.
            let _ = engine.rollback(NAME, false).await;
        }));
    }

    /// A target that answers with an error is up: the word is refuted.
    pub(crate) fn take_for_down(&mut self, process: &Process, world: &mut World) {
        let is_cut = world.network.cut.contains(name(Side::Target));
        if !world.green.up || !world.green.refuses_control || is_cut {
            return;
        }
        world.note(|_| "operator takes an error for the target's end".to_owned());
        let engine = Arc::clone(&process.engine);
        drop(process.spawn(async move {
            // It is not, so this opens nothing.
            let _ = engine.resolve(NAME, "open-source-target-is-down").await;
        }));
    }

    fn ask<F>(
        &mut self,
        process: &Process,
        world: &mut World,
        what: &str,
        request: impl FnOnce(Arc<Engine>) -> F,
    ) where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        world.note(|_| format!("operator asks: {what}"));
        world.woken = true;
        let task = request(Arc::clone(&process.engine));
        self.asked = Some(process.spawn(task));
    }
}

fn done<T, E: std::fmt::Display>(outcome: Result<T, E>) -> Result<(), String> {
    outcome.map(drop).map_err(|error| error.to_string())
}

const CLOSED: pointsman_cutover::migration::UnlistedDatabasePolicy =
    pointsman_cutover::migration::UnlistedDatabasePolicy::StaysClosed;
const PATIENCE: u32 = 4;
const LAST_RESORT: u32 = 12;
