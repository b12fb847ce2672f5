use std::sync::Arc;

use crate::{
    Settings,
    machine::Command,
    migration::Migration,
    ports::{Clock, Ports},
    steps::{self, Failure, Problem, Proof, Run, Sessions, StreamHealth},
};

/// Runs commands on the servers, each inside its budget.
#[derive(Debug)]
pub(super) struct CommandRunner {
    ports: Ports,
    settings: Settings,
    sessions: Sessions,
}

impl CommandRunner {
    pub(super) fn new(ports: Ports, settings: Settings) -> Self {
        Self {
            ports,
            settings,
            sessions: Sessions::default(),
        }
    }

    pub(super) fn ports(&self) -> &Ports {
        &self.ports
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(super) fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.ports.clock)
    }

    /// The next command opens new sessions.
    pub(super) fn forget_sessions(&mut self) {
        self.sessions.clear();
    }

    /// Runs `command` once.
    pub(super) async fn run(
        &mut self,
        migration: &Migration,
        command: Command,
    ) -> Result<Proof, Failure> {
        let clock = self.clock();
        let hold_left = migration
            .facts
            .hold_until()
            .map(|until| until.since(clock.now()));
        let budget = command.budget().length(&self.settings, hold_left);
        let mut run = self.step_run(migration);
        let outcome = clock.timeout(budget, steps::perform(&mut run, command));
        outcome.await.unwrap_or_else(|_elapsed| {
            Err(Failure::new(
                Problem::Unanswered,
                format!("step {} did not end within {budget:?}", command.label()),
            ))
        })
    }

    /// Looks at the reverse stream.
    pub(super) async fn stream_health(
        &mut self,
        migration: &Migration,
    ) -> Result<StreamHealth, Failure> {
        steps::stream_health(&mut self.step_run(migration)).await
    }

    /// What going back would lose now, as far as it can be counted.
    pub(super) async fn writes_at_risk(&mut self, migration: &Migration) -> Option<u64> {
        let counted = steps::writes_at_risk(&mut self.step_run(migration)).await;
        counted.ok()
    }

    fn step_run<'a>(&'a mut self, migration: &'a Migration) -> Run<'a> {
        Run {
            ports: &self.ports,
            settings: &self.settings,
            migration,
            sessions: &mut self.sessions,
        }
    }
}
