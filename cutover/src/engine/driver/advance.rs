//! From one state of the machine to the next, and what a migration knows on the way.

use std::time::Duration;

use serde_json::json;
use tracing::error;

use super::{
    Driver,
    record::{label, log},
};
use crate::{
    journal::{EntryKind, JournalError, Line},
    lease,
    machine::{Direction, Event, State, Step},
    migration::Facts,
};

impl Driver {
    /// Applies `event` for a reason that is no step's outcome.
    pub(super) async fn change(&mut self, event: Event, words: String) -> Result<(), JournalError> {
        let line = Line {
            step: label(self.migration.state.command()).to_owned(),
            ..self.bare_line(EntryKind::Note, words)
        };
        self.advance(event, line).await
    }

    /// Applies `event`, journals it with the next command's intent, and shows it.
    pub(super) async fn advance(&mut self, event: Event, line: Line) -> Result<(), JournalError> {
        let before = self.migration.state;
        let after = match before.apply(event) {
            Ok(after) => after,
            Err(illegal) => {
                error!(migration = %self.migration.name, "{illegal}");
                return Ok(());
            }
        };
        self.migration.state = after;
        let mut lines = vec![line];
        let switch_begins = is_first_step(after) && !is_first_step(before);
        if switch_begins {
            self.begin_switch(after);
        }
        // A crash, an abort and a switch each take a new epoch: whatever an older one still
        // has under way on a server is ended there before anything new happens.
        let turns_back = matches!(after, State::Undoing { .. }) && after != before;
        let decided = matches!(event, Event::RetryChosen | Event::OpenSourceChosen);
        if switch_begins || turns_back || decided || event == Event::Restarted {
            self.migration.epoch += 1;
            self.migration.facts.fence_proved = false;
            self.sessions.clear();
        }
        self.settle_facts(before, after);
        if let Some(command) = after.command().filter(|_| after != before) {
            let intent = self.line(
                command,
                EntryKind::Intent,
                Duration::ZERO,
                String::new(),
                json!({}),
            );
            lines.push(intent);
        }
        let deferred = event == Event::Done
            && matches!(after, State::Switching { step, .. } if !step.intent_is_durable());
        if deferred {
            log(&self.migration, &lines);
            self.unwritten.extend(lines);
            self.show();
            return Ok(());
        }
        self.write(lines).await?;
        if after.is_over() && !before.is_over() {
            lease::release(&self.ports.catalog, &self.migration).await;
        }
        Ok(())
    }

    /// What an operator accepted or asserted holds for the one attempt that it was said for.
    fn settle_facts(&mut self, before: State, after: State) {
        let facts = &mut self.migration.facts;
        if matches!(after, State::Baking { .. } | State::NeedsOperator { .. }) && after != before {
            facts.accept_loss = false;
            facts.target_asserted_down = false;
            facts.source_asserted_down = false;
        }
        let rollback_undone =
            matches!(after, State::Baking { .. }) && matches!(before, State::Undoing { .. });
        if rollback_undone {
            let wait = FIRST_BACKOFF * 2_u32.pow(facts.rollbacks_undone.min(5));
            facts.rollbacks_undone += 1;
            facts.no_automatic_rollback_before = Some(self.ports.clock.now().plus(wait));
        }
    }

    fn begin_switch(&mut self, state: State) {
        self.migration.switches += 1;
        self.switch_began = self.ports.clock.monotonic();
        let facts = &mut self.migration.facts;
        facts.began = self.ports.clock.now();
        facts.hold_until = None;
        facts.marker = None;
        facts.promote_deadline = None;
        if let State::Switching {
            direction: Direction::Forward,
            ..
        } = state
        {
            self.migration.cause = None;
            *facts = Facts {
                system_identifier: facts.system_identifier.take(),
                exempt: std::mem::take(&mut facts.exempt),
                began: facts.began,
                source_timeline: facts.source_timeline,
                // Readers that wait for their former endpoint wait on.
                readers_wait: facts.readers_wait,
                former_readers: std::mem::take(&mut facts.former_readers),
                ..Facts::default()
            };
        }
    }
}

fn is_first_step(state: State) -> bool {
    matches!(
        state,
        State::Switching {
            step: Step::Prepare,
            ..
        }
    )
}

/// Between an undone rollback and the next one that an alarm may start; doubled each time.
const FIRST_BACKOFF: Duration = Duration::from_secs(30);
