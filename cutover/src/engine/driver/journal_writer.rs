use std::{sync::Arc, time::Duration};

use pointsman_catalog::{
    ServerName,
    store::{Revision, StoreError},
};
use serde_json::{Value, json};
use tracing::info;

use crate::{
    journal::{Entry, EntryKind, Journal, JournalError, Line},
    machine::Remark,
    migration::Migration,
    ports::{Clock, Monotonic},
    steps::Problem,
};

/// Writes the journal of one migration, as its leader.
#[derive(Debug)]
pub(super) struct JournalWriter {
    journal: Journal,
    clock: Arc<dyn Clock>,
    /// The revision of the record that this leader wrote last. A newer one was written by another
    /// leader and ends this one.
    revision: Revision,
    entries: Arc<Vec<Entry>>,
    /// Lines that the next durable write takes along.
    unwritten: Vec<Line>,
    switch_began: Monotonic,
    /// What the newest entry remarks, if it is a remark.
    last_remark: Option<Remarked>,
}

/// A remark, and what tells it from another one of its kind.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Remarked {
    pub(super) remark: Remark,
    pub(super) about: Option<About>,
}

/// What a remark is about.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum About {
    /// A kind of failure, and the server that it came from.
    Failure(Problem, Option<ServerName>),
    /// How many transactions going back would lose.
    Risk(Option<u64>),
}

impl JournalWriter {
    pub(super) fn new(
        journal: Journal,
        clock: Arc<dyn Clock>,
        revision: Revision,
        entries: Vec<Entry>,
    ) -> Self {
        Self {
            switch_began: clock.monotonic(),
            journal,
            clock,
            revision,
            entries: Arc::new(entries),
            unwritten: Vec::new(),
            last_remark: None,
        }
    }

    /// The journal as it is on the disk, oldest first.
    pub(super) fn entries(&self) -> Arc<Vec<Entry>> {
        Arc::clone(&self.entries)
    }

    /// Offsets count from now on.
    pub(super) fn begin_switch(&mut self) {
        self.switch_began = self.clock.monotonic();
    }

    /// A line that happens now.
    pub(super) fn line(
        &self,
        migration: &Migration,
        kind: EntryKind,
        step: &str,
        message: String,
    ) -> Line {
        let in_switch = migration.machine.switches() > 0;
        let offset = in_switch.then(|| self.clock.elapsed(self.switch_began));
        Line {
            at: self.clock.now(),
            offset_us: micros(offset.unwrap_or_default()),
            took_us: 0,
            step: step.to_owned(),
            kind,
            message,
            evidence: json!({}),
            happened: None,
        }
    }

    /// Writes the deferred lines, then `lines` and the record, to the disk. `failing` is told
    /// each time that this does not succeed.
    pub(super) async fn write(
        &mut self,
        migration: &mut Migration,
        lines: Vec<Line>,
        failing: impl FnMut(&StoreError) + Send,
    ) -> Result<(), JournalError> {
        log(migration, &lines);
        self.last_remark = None;
        self.append(migration, lines, failing).await
    }

    /// Writes the record as it is now.
    pub(super) async fn save(
        &mut self,
        migration: &mut Migration,
        failing: impl FnMut(&StoreError) + Send,
    ) -> Result<(), JournalError> {
        self.append(migration, Vec::new(), failing).await
    }

    async fn append(
        &mut self,
        migration: &mut Migration,
        lines: Vec<Line>,
        failing: impl FnMut(&StoreError) + Send,
    ) -> Result<(), JournalError> {
        let mut all = std::mem::take(&mut self.unwritten);
        all.extend(lines);
        let appended = self
            .journal
            .append(migration, self.revision, all, failing)
            .await?;
        let (revision, entries) = appended;
        self.revision = revision;
        Arc::make_mut(&mut self.entries).extend(entries);
        Ok(())
    }

    /// Keeps `lines` until the next write.
    pub(super) fn defer(&mut self, migration: &Migration, lines: Vec<Line>) {
        log(migration, &lines);
        self.unwritten.extend(lines);
    }

    /// Writes a remark, unless the newest entry is the same one. One line for what stays so,
    /// however often it is found.
    pub(super) async fn remark(
        &mut self,
        migration: &mut Migration,
        remarked: Remarked,
        line: Line,
        failing: impl FnMut(&StoreError) + Send,
    ) -> Result<(), JournalError> {
        if self.last_remark.as_ref() == Some(&remarked) {
            return Ok(());
        }
        self.write(migration, vec![line], failing).await?;
        self.last_remark = Some(remarked);
        Ok(())
    }
}

/// A line that took this long and has this evidence.
pub(super) fn measured(line: Line, took: Duration, evidence: Value) -> Line {
    Line {
        took_us: micros(took),
        evidence,
        ..line
    }
}

fn log(migration: &Migration, lines: &[Line]) {
    for line in lines.iter().filter(|line| line.kind != EntryKind::Intent) {
        info!(
            migration = %migration.name,
            epoch = migration.machine.epoch(),
            step = %line.step,
            kind = ?line.kind,
            took_us = line.took_us,
            "{}",
            line.message
        );
    }
}

pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
