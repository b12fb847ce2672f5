use std::{sync::Arc, time::Duration};

use pointsman_catalog::UnixMillis;

use crate::{
    Lsn, Settings,
    machine::{Command, Side, State},
    migration::{Learned, Migration},
    ports::{Budgets, Clock, Ports},
    steps::{
        self, BudgetsOfPair, DurableLook, Failure, LeftServerLook, Others, Problem, Proof, Run,
        Sessions, SetAgain, SlotLook, SourceLook, StreamHealth, TargetSeen,
    },
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
        let budgets = self.budgets(migration).await?;
        let waits = budgets.source.all() + budgets.target.all();
        let budget = command.budget().length(&self.settings, waits, hold_left);
        let mut run = self.step_run(migration, budgets);
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
        let budgets = self.budgets(migration).await?;
        steps::stream_health(&mut self.step_run(migration, budgets)).await
    }

    /// Whether the target answers.
    pub(super) async fn target_answers(&mut self, migration: &Migration) -> Result<(), Failure> {
        let budgets = self.budgets(migration).await?;
        steps::target_answers(&mut self.step_run(migration, budgets)).await
    }

    /// Looks at the source that was left, and reads its WAL for no longer than `read`.
    pub(super) async fn look_at_source(
        &mut self,
        migration: &Migration,
        read: Duration,
    ) -> Result<SourceLook, Failure> {
        let budgets = self.budgets(migration).await?;
        Ok(steps::look_at_source(&mut self.step_run(migration, budgets), read).await)
    }

    /// Looks at the server that was left for good.
    pub(super) async fn look_at_left_server(
        &mut self,
        migration: &Migration,
        side: Side,
    ) -> Result<LeftServerLook, Failure> {
        let budgets = self.budgets(migration).await?;
        Ok(steps::look_at_left_server(&mut self.step_run(migration, budgets), side).await)
    }

    /// Looks how much WAL the slots of the reverse stream keep.
    pub(super) async fn look_at_slots(
        &mut self,
        migration: &Migration,
    ) -> Result<SlotLook, Failure> {
        let budgets = self.budgets(migration).await?;
        steps::look_at_slots(&mut self.step_run(migration, budgets)).await
    }

    /// Looks whether commits on the target wait for the source.
    pub(super) async fn look_at_durability(
        &mut self,
        migration: &Migration,
    ) -> Result<DurableLook, Failure> {
        let budgets = self.budgets(migration).await?;
        steps::look_at_durability(&mut self.step_run(migration, budgets)).await
    }

    /// Brings what was written on the target so far to its disk. Returns where that ends.
    pub(super) async fn flush_target(&mut self, migration: &Migration) -> Result<Lsn, Failure> {
        let budgets = self.budgets(migration).await?;
        steps::flush_target(&mut self.step_run(migration, budgets)).await
    }

    /// Makes them wait.
    pub(super) async fn wait_for_source(&mut self, migration: &Migration) -> Result<(), Failure> {
        let budgets = self.budgets(migration).await?;
        steps::wait_for_source(&mut self.step_run(migration, budgets)).await
    }

    /// They wait no more.
    pub(super) async fn wait_for_source_no_more(
        &mut self,
        migration: &Migration,
    ) -> Result<Option<Learned>, Failure> {
        let budgets = self.budgets(migration).await?;
        steps::wait_for_source_no_more(&mut self.step_run(migration, budgets)).await
    }

    /// Gives the target back which standbys its commits waited for, once they are connected.
    pub(super) async fn set_synchronous_again(
        &mut self,
        migration: &Migration,
    ) -> Result<SetAgain, Failure> {
        let budgets = self.budgets(migration).await?;
        steps::set_again(&mut self.step_run(migration, budgets)).await
    }

    /// Looks at the other servers of the same system: in a bake also at source and target.
    pub(super) async fn look_at_others(&mut self, migration: &Migration) -> Others {
        let baking = matches!(migration.state(), State::Baking { .. });
        match self.budgets(migration).await {
            Ok(budgets) => {
                let mut run = self.step_run(migration, budgets);
                match baking {
                    true => steps::look_at_others(&mut run).await,
                    false => steps::look_beside_pair(&run).await,
                }
            }
            Err(failure) => Others {
                unknown: vec![failure.message],
                ..Others::default()
            },
        }
    }

    /// Looks at the target of a bake by a session of its own.
    pub(super) async fn look_at_target(
        &mut self,
        migration: &Migration,
    ) -> Result<TargetSeen, Failure> {
        let budgets = self.budgets(migration).await?;
        Ok(steps::look_at_target(&self.step_run(migration, budgets)).await)
    }

    /// Whether clients reach the target no more, or why that is not known.
    pub(super) async fn target_is_down(
        &mut self,
        migration: &Migration,
        silent: &Failure,
    ) -> Result<String, String> {
        let budgets = self.budgets(migration).await;
        let budgets = budgets.map_err(|failure| failure.message)?;
        steps::target_is_down(&self.step_run(migration, budgets), silent).await
    }

    /// Parks the connections that the target would get.
    pub(super) async fn hold_for_target(
        &mut self,
        migration: &Migration,
        since: UnixMillis,
    ) -> Result<bool, Failure> {
        let budgets = self.budgets(migration).await?;
        steps::hold_for_target(&self.step_run(migration, budgets), since).await
    }

    /// Sends those there that were parked.
    pub(super) async fn release_to_target(
        &mut self,
        migration: &Migration,
        since: UnixMillis,
    ) -> Result<(), Failure> {
        let budgets = self.budgets(migration).await?;
        steps::release_to_target(&self.step_run(migration, budgets), since).await
    }

    /// What going back would lose now, as far as it can be counted.
    pub(super) async fn writes_at_risk(&mut self, migration: &Migration) -> Option<u64> {
        let budgets = self.budgets(migration).await.ok()?;
        let counted = steps::writes_at_risk(&mut self.step_run(migration, budgets)).await;
        counted.ok()
    }

    /// How long a server that does not answer past the point of no return is tried again.
    pub(super) async fn patience(&self, migration: &Migration) -> Duration {
        // A store that does not answer is tried again like a server.
        match self.budgets(migration).await {
            Ok(budgets) => budgets.target.promote,
            Err(_unread) => Budgets::BY_SQL.or_as_set(&self.settings).promote,
        }
    }

    /// How long the migration's servers may take for what they are asked.
    async fn budgets(&self, migration: &Migration) -> Result<BudgetsOfPair, Failure> {
        BudgetsOfPair::of(&self.ports, &self.settings, migration).await
    }

    fn step_run<'a>(&'a mut self, migration: &'a Migration, budgets: BudgetsOfPair) -> Run<'a> {
        Run {
            ports: &self.ports,
            settings: &self.settings,
            budgets,
            migration,
            sessions: &mut self.sessions,
        }
    }
}
