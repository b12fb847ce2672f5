//! What the journal, the log and whoever watches are told.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use tracing::info;

use super::Driver;
use crate::{
    engine::status::Status,
    journal::{EntryKind, JournalError, Line},
    machine::Command,
    migration::Migration,
};

impl Driver {
    pub(super) async fn note(
        &mut self,
        step: &str,
        words: String,
        evidence: Value,
    ) -> Result<(), JournalError> {
        let line = Line {
            step: step.to_owned(),
            evidence,
            ..self.bare_line(EntryKind::Note, words)
        };
        self.write(vec![line]).await
    }

    pub(super) async fn write(&mut self, lines: Vec<Line>) -> Result<(), JournalError> {
        log(&self.migration, &lines);
        let mut all = std::mem::take(&mut self.unwritten);
        all.extend(lines);
        let (revision, entries) = self
            .journal
            .append(&mut self.migration, self.revision, all)
            .await?;
        self.revision = revision;
        Arc::make_mut(&mut self.entries).extend(entries);
        self.show();
        Ok(())
    }

    pub(super) fn show(&self) {
        let status = Status::new(&self.migration, Arc::clone(&self.entries), &self.view);
        self.status.send_replace(Arc::new(status));
    }

    pub(super) fn line(
        &self,
        command: Command,
        kind: EntryKind,
        took: Duration,
        words: String,
        evidence: Value,
    ) -> Line {
        Line {
            step: label(Some(command)).to_owned(),
            took_us: micros(took),
            evidence,
            ..self.bare_line(kind, words)
        }
    }

    pub(super) fn bare_line(&self, kind: EntryKind, words: String) -> Line {
        let in_switch = self.migration.switches > 0;
        Line {
            at: self.ports.clock.now(),
            offset_us: if in_switch {
                micros(self.ports.clock.elapsed(self.switch_began))
            } else {
                0
            },
            took_us: 0,
            step: String::new(),
            kind,
            words,
            evidence: json!({}),
        }
    }
}

pub(super) fn log(migration: &Migration, lines: &[Line]) {
    for line in lines.iter().filter(|line| line.kind != EntryKind::Intent) {
        info!(
            migration = %migration.name,
            epoch = migration.epoch,
            step = %line.step,
            kind = ?line.kind,
            took_us = line.took_us,
            "{}",
            line.words
        );
    }
}

pub(super) fn label(command: Option<Command>) -> &'static str {
    match command {
        Some(Command::SetUp) => "start",
        Some(Command::Step(_, step)) => step.label(),
        Some(Command::Undo(..)) => "undo",
        Some(Command::Arm) => "arm",
        Some(Command::Watch) => "bake",
        Some(Command::Complete) => "complete",
        Some(Command::Cancel) => "cancel",
        None => "",
    }
}

pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
