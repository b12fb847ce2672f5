//! The watched time after a switch.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use serde_json::json;
use tokio::{sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{Driver, record::micros};
use crate::{
    journal::{EntryKind, JournalError},
    machine::{Command, Event, ReverseStream, State},
    migration::Migration,
    ports::{Alarm, AlarmSubject, Monotonic},
    steps,
};

impl Driver {
    /// Arms, watches and hears alarms until the state is no bake any more.
    pub(super) fn bake(&mut self) -> BoxFuture<'_, Result<(), JournalError>> {
        Box::pin(self.bake_until_it_ends())
    }

    async fn bake_until_it_ends(&mut self) -> Result<(), JournalError> {
        let quiet = CancellationToken::new();
        let _quiet_at_end = quiet.clone().drop_guard();
        let mut watchers = JoinSet::new();
        let subject = AlarmSubject {
            databases: self.migration.catalogued(),
            bake: format!("{}/{}", self.migration.name, self.migration.switches),
        };
        let mut alarms = self.watch_alarms(&subject, &quiet, &mut watchers);
        let mut failing_since: Option<Monotonic> = None;
        let clock = Arc::clone(&self.ports.clock);
        while !self.stop.is_cancelled() {
            let State::Baking { reverse, rollback } = self.migration.state else {
                return Ok(());
            };
            self.look_around(&subject);
            let wait = match reverse {
                ReverseStream::Arming => {
                    if self.arm().await? {
                        continue;
                    }
                    REARM
                }
                ReverseStream::Proven | ReverseStream::Broken => {
                    self.look_at_stream(&mut failing_since).await?;
                    self.settings.watch_interval
                }
            };
            if !matches!(self.migration.state, State::Baking { .. }) {
                return Ok(());
            }
            tokio::select! {
                biased;
                () = self.stop.cancelled() => {}
                Some(request) = self.requests.recv() => self.consider(request).await?,
                Some(alarm) = alarms.recv(), if !rollback => self.hear_alarm(alarm).await?,
                () = clock.sleep(wait) => {}
            }
        }
        Ok(())
    }

    fn watch_alarms(
        &self,
        subject: &AlarmSubject,
        quiet: &CancellationToken,
        watchers: &mut JoinSet<()>,
    ) -> mpsc::Receiver<Alarm> {
        let (fired, alarms) = mpsc::channel(1);
        for source in &self.ports.alarms {
            let source = Arc::clone(source);
            let (fired, quiet, subject) = (fired.clone(), quiet.clone(), subject.clone());
            watchers.spawn(async move {
                while let Some(alarm) = source.watch(&subject, quiet.clone()).await {
                    if fired.send(alarm).await.is_err() {
                        return;
                    }
                }
            });
        }
        alarms
    }

    /// One attempt to make and prove the reverse stream. `true`: the state has changed.
    async fn arm(&mut self) -> Result<bool, JournalError> {
        let began = self.ports.clock.monotonic();
        match self.perform(Command::Arm).await {
            Ok(proof) => {
                let took = self.ports.clock.elapsed(began);
                let (words, evidence) = (proof.words, proof.evidence);
                let line = self.line(Command::Arm, EntryKind::Done, took, words, evidence);
                self.advance(Event::Done, line).await?;
                Ok(true)
            }
            Err(failure) if failure.event == Event::ReverseStreamBroke => {
                self.change(Event::ReverseStreamBroke, failure.words)
                    .await?;
                self.count_risk().await;
                Ok(true)
            }
            Err(failure) => {
                self.sessions.clear();
                // One line for a cause that stays, however often it is tried.
                let words = format!("not armed yet: {}", failure.words);
                let known = self.entries.last().is_some_and(|last| last.words == words);
                if !known {
                    let evidence = json!({ "took_us": micros(self.ports.clock.elapsed(began)) });
                    self.note("arm", words, evidence).await?;
                }
                Ok(false)
            }
        }
    }

    async fn look_at_stream(
        &mut self,
        failing_since: &mut Option<Monotonic>,
    ) -> Result<(), JournalError> {
        let mut run = self.step_run();
        let trouble = match steps::stream_health(&mut run).await {
            Ok(health) => {
                self.view.behind_bytes = health.behind_bytes;
                (!health.streaming).then(|| "the reverse stream does not stream".to_owned())
            }
            Err(failure) => {
                self.sessions.clear();
                Some(failure.words)
            }
        };
        self.show();
        let Some(words) = trouble else {
            *failing_since = None;
            return Ok(());
        };
        let clock = Arc::clone(&self.ports.clock);
        let since = *failing_since.get_or_insert_with(|| clock.monotonic());
        let proven = matches!(
            self.migration.state,
            State::Baking {
                reverse: ReverseStream::Proven,
                ..
            }
        );
        if proven && clock.elapsed(since) > LAPSE {
            *failing_since = None;
            self.change(Event::ReverseStreamLapsed, words).await?;
        }
        Ok(())
    }

    /// What the sidecars still have on the old writer, and what keeps alarms from firing.
    fn look_around(&mut self, subject: &AlarmSubject) {
        let Migration { source, .. } = &self.migration;
        let left = self.ports.evidence.sessions(&subject.databases, source);
        self.view.old_writer = Some(left);
        let alarms = self.ports.alarms.iter();
        self.view.alarm_troubles = alarms.flat_map(|alarm| alarm.troubles(subject)).collect();
        self.show();
    }

    /// What going back would lose now, as far as it can be counted.
    async fn count_risk(&mut self) {
        let mut run = self.step_run();
        self.view.writes_at_risk = steps::writes_at_risk(&mut run).await.ok();
        self.show();
    }

    /// An alarm goes back by itself as long as that loses nothing.
    async fn hear_alarm(&mut self, alarm: Alarm) -> Result<(), JournalError> {
        let words = format!("alarm of {}: {}", alarm.source, alarm.words);
        warn!(migration = %self.migration.name, "{words}");
        let early = self
            .migration
            .facts
            .no_automatic_rollback_before
            .is_some_and(|before| self.ports.clock.now() < before);
        if early {
            let words = "an alarm fires; the last rollback was undone, so the next one needs an \
                         operator or more time";
            return self.note_once(words.to_owned()).await;
        }
        if matches!(
            self.migration.state,
            State::Baking {
                reverse: ReverseStream::Arming | ReverseStream::Proven,
                rollback: false,
            }
        ) {
            self.migration.cause = Some(words.clone());
            self.migration.facts.accept_loss = false;
            return self.change(Event::RollbackRequested, words).await;
        }
        let risk = self.view.writes_at_risk;
        let risk = risk.map_or_else(|| "an unknown number of".to_owned(), |n| n.to_string());
        let words = format!(
            "an alarm fires; not going back by itself: that would lose {risk} transactions"
        );
        self.note_once(words).await
    }

    /// One line for what stays so, however often it is found.
    async fn note_once(&mut self, words: String) -> Result<(), JournalError> {
        if self.entries.last().is_some_and(|last| last.words == words) {
            return Ok(());
        }
        self.note("bake", words, json!({})).await
    }
}

/// A failed arming is tried again; the target serves meanwhile.
const REARM: Duration = Duration::from_secs(1);
/// A subscriber's walsender may be restarted; longer silence needs a new proof.
const LAPSE: Duration = Duration::from_secs(2);
