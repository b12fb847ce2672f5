mod bake;

use std::{sync::Arc, time::Duration};

use pointsman_catalog::{Chain, UnixMillis, store::StoreError};
use serde_json::json;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::{
    engine::{
        error::DriveError,
        status::{BakeView, NotArmed, Status},
        target_watch::TargetWatch,
    },
    journal::{EntryKind, Happened, Journal, Line},
    lease,
    machine::{Command, Durability, Effect, Event, Remark, Transition},
    migration::Migration,
    ports::Deadline,
    steps::{Failure, Problem, Proof},
};

use super::{
    board::StatusBoard,
    commands::CommandRunner,
    journal_writer::{About, JournalWriter, Remarked, measured},
    recorded::Recorded,
};

/// One migration in the hands of the one process that drives it: every event changes the
/// record here, and nowhere else.
#[derive(Debug)]
pub(super) struct Leader {
    migration: Migration,
    commands: CommandRunner,
    journal: JournalWriter,
    board: StatusBoard,
    /// Why readers were not restored, as it was last logged.
    last_warning: String,
}

/// What is to be done after an event.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Next {
    /// The command that the machine owes now.
    Owed,
    /// The same command again, after a pause.
    TryAgain,
}

/// An event, and its line in the journal.
#[derive(Debug)]
struct Report {
    event: Event,
    line: Line,
    about: Option<About>,
    /// The facts are other ones than before.
    learned: bool,
}

impl Leader {
    pub(super) fn new(
        commands: CommandRunner,
        journal: Journal,
        recorded: Recorded,
        shown: watch::Sender<Arc<Status>>,
    ) -> Self {
        let Recorded {
            migration,
            revision,
            entries,
        } = recorded;
        let journal = JournalWriter::new(journal, commands.clock(), revision, entries);
        let view = BakeView {
            target: TargetWatch::on_record(&migration),
            ..BakeView::default()
        };
        let status = Status::new(&migration, journal.entries(), &view);
        Self {
            board: StatusBoard::new(shown, status, view),
            migration,
            commands,
            journal,
            last_warning: String::new(),
        }
    }

    pub(super) fn migration(&self) -> &Migration {
        &self.migration
    }

    pub(super) fn commands(&self) -> &CommandRunner {
        &self.commands
    }

    /// The one command that is owed now.
    pub(super) fn owes(&self) -> Option<Command> {
        self.migration.machine.command()
    }

    /// Applies an event that no command caused: a request, an alarm, a passed deadline.
    ///
    /// # Errors
    /// [`DriveError::NotPossible`] when the event cannot happen now; nothing has changed then.
    pub(super) async fn happened(
        &mut self,
        event: Event,
        reason: String,
    ) -> Result<Next, DriveError> {
        let owed = self.migration.state().command();
        let step = owed.map_or("", Command::label);
        let line = self.line(EntryKind::Note, step, reason);
        self.apply(Report {
            event,
            line,
            about: Some(About::Risk(self.board.view().writes_at_risk)),
            learned: false,
        })
        .await
    }

    /// Runs `command` once, and lets what came of it change the record. `try_until` is when a
    /// server that does not answer is given up.
    pub(super) async fn run(
        &mut self,
        command: Command,
        try_until: Deadline<'_>,
    ) -> Result<Next, DriveError> {
        let never = std::future::pending();
        self.run_unless(command, try_until, never).await
    }

    /// The same, unless `interrupted` comes first. The command is given up then with its sessions:
    /// it is one that can be run again from its beginning.
    pub(super) async fn run_unless(
        &mut self,
        command: Command,
        try_until: Deadline<'_>,
        interrupted: impl Future<Output = ()>,
    ) -> Result<Next, DriveError> {
        let clock = self.commands.clock();
        let began = clock.monotonic();
        let ran = tokio::select! {
            biased;
            outcome = self.commands.run(&self.migration, command) => Some(outcome),
            () = interrupted => None,
        };
        let Some(outcome) = ran else {
            self.commands.forget_sessions();
            return Ok(Next::Owed);
        };
        let took = clock.elapsed(began);
        let report = self.report(command, outcome, took, try_until);
        self.apply(report).await
    }

    /// What `command` came to, as an event with its line in the journal.
    fn report(
        &mut self,
        command: Command,
        outcome: Result<Proof, Failure>,
        took: Duration,
        try_until: Deadline<'_>,
    ) -> Report {
        let known = self.migration.facts.clone();
        let outcome = self.learn(outcome);
        let learned = self.migration.facts != known;
        if command == Command::Arm {
            self.note_target(outcome.as_ref().err());
            let failed = outcome.as_ref().err().map(|failure| NotArmed {
                reason: failure.message.clone(),
                by_others: failure.problem == Problem::SessionsLeft,
            });
            self.board.change(|view| view.not_armed = failed);
        }
        match outcome {
            Ok(proof) => {
                if let Some(lsn) = proof.confirmed {
                    let at = self.commands.clock().now();
                    self.board.change(|view| view.target.has_confirmed(lsn, at));
                }
                let line = self.line(EntryKind::Done, command.label(), proof.message);
                Report {
                    event: proof.event,
                    line: measured(line, took, proof.evidence),
                    about: None,
                    learned,
                }
            }
            Err(failure) => {
                let event = failure.problem.event(!try_until.has_passed());
                let kind = match command {
                    // It is tried until it succeeds, and fails no switch.
                    Command::Arm => EntryKind::Note,
                    Command::SetUp
                    | Command::Step(..)
                    | Command::Undo(..)
                    | Command::RequestPromotion
                    | Command::AwaitPromotion
                    | Command::Watch
                    | Command::Complete
                    | Command::Cancel
                    | Command::RestoreReaders => EntryKind::Failed,
                };
                let line = self.line(kind, command.label(), failure.message);
                Report {
                    event,
                    line: measured(line, took, json!({})),
                    about: Some(About::Failure(failure.problem, failure.server)),
                    learned,
                }
            }
        }
    }

    /// Records a note that is no event.
    pub(super) async fn note(&mut self, step: &str, message: String) -> Result<(), DriveError> {
        let line = self.line(EntryKind::Note, step, message);
        self.write(vec![line]).await
    }

    /// The note of `step` that begins so, if one is on record.
    pub(super) fn noted(&self, step: &str, beginning: &str) -> Option<String> {
        let entries = self.journal.entries();
        let mut notes = entries.iter().filter(|entry| entry.step == step);
        let note = notes.find(|entry| entry.message.starts_with(beginning));
        note.map(|entry| entry.message.clone())
    }

    /// A preflight found nothing that blocks.
    pub(super) fn passed_preflight(&mut self, at: UnixMillis) {
        self.migration.preflight_passed = Some(at);
    }

    /// What is shown of a bake.
    pub(super) fn bake_view(&self) -> &BakeView {
        self.board.view()
    }

    /// Writes the record without an entry.
    pub(super) async fn save(&mut self) -> Result<(), DriveError> {
        let board = &self.board;
        self.journal
            .save(&mut self.migration, |failed| {
                board.show_not_driven(&unwritten(failed));
            })
            .await?;
        self.show();
        Ok(())
    }

    /// Why the reverse stream cannot be made before a person does something about it.
    pub(super) fn waits_for_others(&self) -> Option<&str> {
        let not_armed = self.board.view().not_armed.as_ref();
        not_armed
            .filter(|not_armed| not_armed.by_others)
            .map(|not_armed| not_armed.reason.as_str())
    }

    /// Changes what is shown of a bake.
    pub(super) fn show_bake(&mut self, change: impl FnOnce(&mut BakeView)) {
        self.board.change(change);
        self.show();
    }

    /// Adds the facts that a command found to the record, also those of a command that failed.
    /// A fact that contradicts the record makes the command a failure.
    fn learn(&mut self, outcome: Result<Proof, Failure>) -> Result<Proof, Failure> {
        let (learned, outcome) = match outcome {
            Ok(mut proof) => (std::mem::take(&mut proof.learned), Ok(proof)),
            Err(mut failure) => (std::mem::take(&mut failure.learned), Err(failure)),
        };
        for learned in learned {
            self.migration.facts.learn(learned)?;
        }
        outcome
    }

    async fn apply(&mut self, mut report: Report) -> Result<Next, DriveError> {
        let at = self.commands.clock().now();
        let Transition { machine, effects } = self.migration.machine.apply(report.event, at)?;
        self.migration.machine = machine;
        let event = report.event;
        report.line.happened = Some(Happened { event, at, machine });
        let mut next = Next::Owed;
        for effect in effects {
            match effect {
                Effect::BeginSwitch(direction) => {
                    self.migration.begin_switch(direction);
                    self.journal.begin_switch();
                    // What begins a switch is its zero point.
                    report.line.offset_us = 0;
                }
                Effect::ForgetSessions => self.commands.forget_sessions(),
                Effect::RememberCause => {
                    self.migration.cause = Some(report.line.message.clone());
                }
                Effect::ForgetCause => self.migration.cause = None,
                Effect::Journal { durability, intent } => {
                    self.record(&report.line, durability, intent).await?;
                }
                Effect::Remark(remark) => self.remark(remark, &report).await?,
                Effect::TryAgain => {
                    self.log_retry(&report);
                    // What the next try goes by must survive this process.
                    if report.learned {
                        self.record(&report.line, Durability::Now, None).await?;
                    }
                    next = Next::TryAgain;
                }
                Effect::CountRisk => {
                    let count = self.commands.writes_at_risk(&self.migration).await;
                    self.show_bake(|view| view.writes_at_risk = count);
                }
                Effect::HoldWriters => self.hold_writers().await,
                Effect::ReleaseLease => {
                    lease::release(&self.commands.ports().catalog, &self.migration).await;
                    // The next fence would take them for strangers'.
                    self.commands.forget_sessions();
                }
            }
        }
        Ok(next)
    }

    async fn record(
        &mut self,
        line: &Line,
        durability: Durability,
        intent: Option<Command>,
    ) -> Result<(), DriveError> {
        let mut lines = vec![line.clone()];
        if let Some(command) = intent {
            lines.push(self.line(EntryKind::Intent, command.label(), String::new()));
        }
        match durability {
            Durability::Now => self.write(lines).await,
            Durability::WithTheNext => {
                self.journal.defer(&self.migration, lines);
                self.show();
                Ok(())
            }
        }
    }

    async fn remark(&mut self, remark: Remark, report: &Report) -> Result<(), DriveError> {
        let said = &report.line.message;
        let (message, about) = match remark {
            Remark::NotArmed => (format!("not armed yet: {said}"), report.about.clone()),
            Remark::PromotionObserved => (said.clone(), report.about.clone()),
            Remark::AlarmTooEarly => (
                "an alarm fires; the last rollback was undone, so the next one needs an operator \
                 or more time"
                    .to_owned(),
                None,
            ),
            Remark::AlarmSourceDisturbed => (
                format!(
                    "an alarm fires; not going back by itself: {} was not left alone in the bake",
                    self.migration.source
                ),
                None,
            ),
            Remark::AlarmWouldLose => {
                let risk = self.board.view().writes_at_risk;
                let risk =
                    risk.map_or_else(|| "an unknown number of".to_owned(), |n| n.to_string());
                let message = format!(
                    "an alarm fires; not going back by itself: that would lose {risk} transactions"
                );
                (message, report.about.clone())
            }
        };
        let line = Line {
            kind: EntryKind::Note,
            message,
            happened: None,
            ..report.line.clone()
        };
        let remarked = Remarked { remark, about };
        let board = &self.board;
        self.journal
            .remark(&mut self.migration, remarked, line, |failed| {
                board.show_not_driven(&unwritten(failed));
            })
            .await?;
        self.show();
        Ok(())
    }

    /// Logs why a command runs again. The readers' restoration runs many times a second, so it is
    /// logged only when a person must act, and once for each reason.
    fn log_retry(&mut self, report: &Report) {
        let (migration, reason) = (&self.migration.name, &report.line.message);
        if self.owes() != Some(Command::RestoreReaders) {
            info!(%migration, "trying again: {reason}");
        } else if report.event == Event::Failed && self.last_warning != *reason {
            warn!(%migration, "readers not restored: {reason}");
            self.last_warning.clone_from(reason);
        }
    }

    fn line(&self, kind: EntryKind, step: &str, message: String) -> Line {
        self.journal.line(&self.migration, kind, step, message)
    }

    async fn write(&mut self, lines: Vec<Line>) -> Result<(), DriveError> {
        let board = &self.board;
        self.journal
            .write(&mut self.migration, lines, |failed| {
                board.show_not_driven(&unwritten(failed));
            })
            .await?;
        self.show();
        Ok(())
    }

    fn show(&self) {
        let view = self.board.view();
        let status = Status::new(&self.migration, self.journal.entries(), view);
        self.board.show(status);
    }
}

/// Why nothing goes on, of a journal that takes nothing.
fn unwritten(failed: &StoreError) -> String {
    format!(
        "the journal could not be written ({}); look at the disk and the permissions of the data directory; \
         it is tried again by itself",
        Chain(failed)
    )
}
