//! The watched time after a switch.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{
    alarm_watch::AlarmWatch,
    durability_watcher::DurabilityWatcher,
    inbox::{Inbox, hear},
    leader::{Leader, Next},
    others_watcher::OthersWatcher,
    outage_watcher::OutageWatcher,
    slot_guard::SlotGuard,
    source_watcher::SourceWatcher,
    synchronous_watcher::SynchronousWatcher,
};
use crate::{
    engine::{
        error::DriveError,
        status::{Durability, SourceView},
    },
    machine::{Command, Event, State, StreamState, StreamWatch},
    migration::Migration,
    ports::{Alarm, AlarmSubject, Monotonic},
    steps::StreamHealth,
};

/// Watches one bake: alarms, the reverse stream, and who is still on the old writer.
#[derive(Debug)]
pub(super) struct BakeWatcher {
    alarms: AlarmWatch,
    /// Why alarms could not fire, as it was last logged.
    warnings: Vec<String>,
    stream: StreamWatch,
    source: SourceWatcher,
    slots: SlotGuard,
    others: OthersWatcher,
    outage: OutageWatcher,
    durability: DurabilityWatcher,
    /// New connections were held at the last look.
    held: bool,
    synchronous: SynchronousWatcher,
    /// Since when a rollback waits for the reverse stream.
    rollback_since: Option<Monotonic>,
    /// An alarm fired while the reverse stream waited for others, and that was said.
    said_why_not: bool,
}

impl BakeWatcher {
    /// Begins to watch the bake that `leader` is in.
    pub(super) fn begin(leader: &Leader) -> Self {
        let migration = leader.migration();
        let subject = AlarmSubject {
            databases: migration.catalogued(),
            bake: name_of_bake(migration),
        };
        Self {
            alarms: AlarmWatch::begin(&leader.commands().ports().alarms, subject),
            warnings: Vec::new(),
            stream: StreamWatch::default(),
            source: SourceWatcher::default(),
            slots: SlotGuard::default(),
            others: OthersWatcher::default(),
            outage: OutageWatcher::default(),
            durability: DurabilityWatcher::default(),
            held: false,
            synchronous: SynchronousWatcher::default(),
            rollback_since: None,
            said_why_not: false,
        }
    }

    /// Arms, watches and hears alarms until the state is no bake any more.
    pub(super) async fn watch(
        mut self,
        leader: &mut Leader,
        inbox: &mut Inbox,
        stop: &CancellationToken,
    ) -> Result<(), DriveError> {
        let clock = leader.commands().clock();
        leader.show_bake(|view| {
            view.source = SourceView::default();
            view.durability = Durability::default();
        });
        while matches!(leader.migration().state(), State::Baking { .. }) {
            if stop.is_cancelled() {
                break;
            }
            self.look_around(leader);
            let held = self.outage.look(leader, inbox).await?;
            self.forget_alarms_of_outage(leader, held);
            self.look_at_servers(leader, held).await?;
            let State::Baking { stream } = leader.migration().state() else {
                break;
            };
            if self.rollback_has_waited(leader, stream) {
                let waited = leader.commands().settings().rollback_wait;
                let reason = format!(
                    "the rollback was given up: it waited {waited:?} for the reverse stream; the target serves on"
                );
                leader.happened(Event::RollbackWithdrawn, reason).await?;
                continue;
            }
            let wait = match stream {
                // Nothing is streamed by a target that is down; and while clients wait for a source that
                // does not confirm, nothing else comes first.
                _ if held || self.durability.keeps_clients_waiting() => {
                    give_up_waiting(leader).await?;
                    LOOK_AGAIN
                }
                StreamState::Arming | StreamState::ArmingForRollback => {
                    arm(leader, inbox).await?;
                    if leader.owes() != Some(Command::Arm) {
                        continue;
                    }
                    give_up_waiting(leader).await?;
                    REARM
                }
                StreamState::Proven | StreamState::Broken => {
                    self.look_at_stream(leader, stream).await?;
                    leader.commands().settings().watch_interval
                }
            };
            let wait = match leader.suspects_target() {
                true => wait.min(LOOK_AGAIN),
                false => wait,
            };
            let State::Baking { stream } = leader.migration().state() else {
                break;
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                Some(request) = inbox.next() => hear(leader, request).await?,
                Some(alarm) = self.alarms.next(), if !stream.rollback_waits() => {
                    self.hear_alarm(leader, alarm, held).await?;
                }
                () = clock.sleep(wait) => {}
            }
        }
        Ok(())
    }

    /// What failed while the target was down says nothing of the one that is back: every source begins
    /// anew.
    fn forget_alarms_of_outage(&mut self, leader: &Leader, held: bool) {
        if self.held && !held {
            let sources = &leader.commands().ports().alarms;
            self.alarms = AlarmWatch::begin(sources, self.alarms.subject().clone());
        }
        self.held = held;
    }

    /// Looks at the source, at the slots of a target that serves, and at the other servers.
    async fn look_at_servers(
        &mut self,
        leader: &mut Leader,
        target_is_down: bool,
    ) -> Result<(), DriveError> {
        let bakes = |leader: &Leader| matches!(leader.migration().state(), State::Baking { .. });
        if !target_is_down {
            self.durability.look(leader).await?;
        }
        if bakes(leader) {
            self.source.look(leader).await?;
        }
        if bakes(leader) && !target_is_down {
            self.slots.look(leader).await?;
            self.synchronous.look(leader).await?;
        }
        if bakes(leader) {
            self.others.look(leader).await?;
        }
        Ok(())
    }

    /// Whether a rollback has waited for the reverse stream as long as it may. Shows until when it
    /// waits.
    fn rollback_has_waited(&mut self, leader: &mut Leader, stream: StreamState) -> bool {
        if !stream.rollback_waits() {
            self.rollback_since = None;
            return false;
        }
        let clock = leader.commands().clock();
        let at_most = leader.commands().settings().rollback_wait;
        let since = *self.rollback_since.get_or_insert_with(|| {
            let until = clock.now().plus(at_most);
            leader.show_bake(|view| view.rollback_until = Some(until));
            clock.monotonic()
        });
        clock.elapsed(since) >= at_most
    }

    /// A rollback that begins now would be given up after the next try: the alarm is heard once
    /// the stream can be made. What fails while clients are `held` says nothing of a target that may be
    /// back already.
    async fn hear_alarm(
        &mut self,
        leader: &mut Leader,
        alarm: Alarm,
        held: bool,
    ) -> Result<(), DriveError> {
        let reason = format!("alarm of {}: {}", alarm.source, alarm.reason);
        let why_not = match leader.waits_for_others() {
            _ if held => Some(HELD.to_owned()),
            Some(why_not) => Some(why_not.to_owned()),
            None => leader.silence_of_target().await,
        };
        let Some(why_not) = why_not else {
            self.said_why_not = false;
            warn!(migration = %leader.migration().name, "{reason}");
            leader.happened(Event::AlarmFired, reason).await?;
            return Ok(());
        };
        if !self.said_why_not {
            self.said_why_not = true;
            let message =
                format!("{reason}; not going back by itself as long as this is so: {why_not}");
            warn!(migration = %leader.migration().name, "{message}");
            leader.note(Command::Arm.label(), message).await?;
        }
        Ok(())
    }

    /// What the sidecars still have on the old writer, and what keeps alarms from firing.
    fn look_around(&mut self, leader: &mut Leader) {
        let mut warnings = self.alarms.look();
        if warnings != self.warnings {
            for warning in &warnings {
                warn!(migration = %leader.migration().name, "{warning}");
            }
            self.warnings.clone_from(&warnings);
        }
        warnings.extend_from_slice(self.others.unknown());
        let databases = &self.alarms.subject().databases;
        let source = &leader.migration().source;
        let left = leader
            .commands()
            .ports()
            .evidence
            .sessions(databases, source);
        leader.show_bake(|view| {
            view.old_writer = Some(left);
            view.alarm_warnings = warnings;
        });
    }

    async fn look_at_stream(
        &mut self,
        leader: &mut Leader,
        stream: StreamState,
    ) -> Result<(), DriveError> {
        let silent = match leader.stream_health().await {
            Ok(health) => {
                leader.show_bake(|view| {
                    view.behind_bytes = health.behind_bytes;
                    view.gap.clone_from(&health.gap);
                });
                if let Some(event) = whole_or_not(&health, stream) {
                    let now_whole = "the reverse stream carries every table again".to_owned();
                    let reason = health.gap.unwrap_or(now_whole);
                    leader.happened(event, reason).await?;
                    return Ok(());
                }
                (!health.streaming).then(|| "the reverse stream does not stream".to_owned())
            }
            Err(failure) => Some(failure.message),
        };
        let Some(reason) = silent else {
            self.stream.streams();
            return Ok(());
        };
        let at = leader.commands().clock().monotonic();
        if self.stream.is_silent(at, stream) {
            leader.happened(Event::ReverseStreamLapsed, reason).await?;
        }
        Ok(())
    }
}

const HELD: &str = "new connections are held until the target answers";

/// The promotion began the bake. A rollback that was undone goes on with the same one: an alarm
/// that has seen the target well does not forget it.
fn name_of_bake(migration: &Migration) -> String {
    let promotion = migration.facts.promotion();
    let timeline = promotion.map_or(0, |promotion| promotion.timeline);
    format!("{}/{timeline}", migration.name)
}

/// A proven stream that leaves something out is no lossless way back; one that ran on and carries
/// everything again is proven anew.
fn whole_or_not(health: &StreamHealth, stream: StreamState) -> Option<Event> {
    match (stream, &health.gap) {
        (StreamState::Proven, Some(_)) => Some(Event::ReverseStreamBroke),
        (StreamState::Broken, None) if health.whole => Some(Event::ReverseStreamLapsed),
        (StreamState::Proven | StreamState::Broken, _)
        | (StreamState::Arming | StreamState::ArmingForRollback, _) => None,
    }
}

/// One attempt to make and prove the reverse stream. It takes seconds where a server is silent; a
/// request is heard at once.
async fn arm(leader: &mut Leader, inbox: &mut Inbox) -> Result<Next, DriveError> {
    let clock = leader.commands().clock();
    let only_once = clock.deadline(Duration::ZERO);
    leader
        .run_unless(Command::Arm, only_once, inbox.arrived())
        .await
}

/// A rollback does not wait for what nobody may come to do: it is refused, and can be asked for
/// again.
async fn give_up_waiting(leader: &mut Leader) -> Result<(), DriveError> {
    let State::Baking { stream } = leader.migration().state() else {
        return Ok(());
    };
    if !stream.rollback_waits() {
        return Ok(());
    }
    let why = match leader.waits_for_others() {
        Some(why) => Some(why.to_owned()),
        None => leader.silent_for_too_long(),
    };
    let Some(why) = why else {
        return Ok(());
    };
    let reason = format!("the reverse stream that a rollback needs cannot be made: {why}");
    leader.happened(Event::RollbackWithdrawn, reason).await?;
    Ok(())
}

/// A failed arming is tried again; the target serves meanwhile.
const REARM: Duration = Duration::from_secs(1);
/// While the target is silent, and somebody may be held for it.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
