//! Two worlds are the same when nothing tells them apart that decides anything. Epochs count by
//! their order alone.

use pointsman_cutover::machine::{
    Assertion, Direction, Event, FenceProof, Machine, PromotionStage, ReaderRoutes, State,
    StreamState,
};

use crate::{
    fingerprint,
    message::{Message, Route, Statement},
    process::{Coverage, Facts, Process, Record, Session, short},
    violation::Violation,
    world::World,
};

/// What tells a world from others.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Key([u64; 5]);

impl World {
    /// What tells it from others.
    pub fn key(&self) -> Key {
        let mut packer = Packer::new(self.epochs());
        packer.world(self);
        Key(packer.words)
    }

    /// A number that stands for the key.
    pub(crate) fn fingerprint(&self) -> u64 {
        fingerprint::of(self.key().0)
    }

    /// Every epoch that anything carries.
    fn epochs(&self) -> Vec<u8> {
        let processes = [self.leader, self.stale];
        let mut epochs = vec![short(self.journal.machine.epoch())];
        for process in processes.iter().flatten() {
            epochs.push(short(process.record.machine.epoch()));
            for session in [process.source, process.target] {
                if let Session::Live(epoch) = session {
                    epochs.push(epoch);
                }
            }
        }
        epochs.extend([self.source.record, self.target.record].iter().flatten());
        epochs.extend(self.messages.iter().flatten().map(|message| message.epoch));
        epochs.sort_unstable();
        epochs.dedup();
        epochs
    }
}

impl std::hash::Hash for World {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

impl PartialEq for World {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for World {}

/// Packs small numbers into words.
#[derive(Debug)]
struct Packer {
    words: [u64; 5],
    used: usize,
    epochs: Vec<u8>,
}

impl Packer {
    fn new(epochs: Vec<u8>) -> Self {
        Self {
            words: [0; 5],
            used: 0,
            epochs,
        }
    }

    /// Adds the lowest `bits` of `value`; none goes over the end of a word.
    fn put(&mut self, value: usize, bits: usize) {
        if self.used % 64 + bits > 64 {
            self.used = (self.used / 64 + 1) * 64;
        }
        if let Some(word) = self.words.get_mut(self.used / 64) {
            *word |= (value as u64 & ((1 << bits) - 1)) << (self.used % 64);
        }
        self.used += bits;
    }

    fn flag(&mut self, value: bool) {
        self.put(usize::from(value), 1);
    }

    fn epoch(&mut self, epoch: Option<u8>) {
        let rank = epoch.and_then(|epoch| self.epochs.binary_search(&epoch).ok());
        self.put(rank.map_or(0, |rank| rank + 1), 4);
    }

    fn world(&mut self, world: &World) {
        let after = world.is_past_the_switch();
        let World {
            promotion,
            source,
            target,
            api,
            route,
            held,
            messages,
            journal,
            leader,
            stale,
            left,
            violations,
            said,
            word_taken,
        } = world;
        self.put(*promotion as usize, 1);
        self.put(source.power as usize, 2);
        self.put(source.access as usize, 2);
        self.epoch(source.record);
        self.flag(source.opened_by_stranger);
        // Behind the opening of the target nobody asks that any more.
        self.put(if after { 0 } else { source.meddling as usize }, 2);
        self.put(source.strayed as usize, 2);
        self.flag(source.applies);
        self.put(target.power as usize, 2);
        self.put(target.access as usize, 2);
        self.epoch(target.record);
        self.put(target.meddling as usize, 2);
        self.put(target.slots as usize, 2);
        for flag in [
            target.is_primary,
            target.is_cut_off,
            target.opened_by_stranger,
            target.lacks && !after,
            target.undelivered,
            target.uncarried,
            target.written,
            *held && world.holds_next(),
            *word_taken,
        ] {
            self.flag(flag);
        }
        self.put(said.map_or(0, |said| said as usize + 1), 2);
        self.put(*api as usize, 2);
        self.put(
            match route {
                Route::Source => 0,
                Route::Hold => 1,
                Route::Refuse => 2,
                Route::Target => 3,
                Route::Elsewhere => 4,
            },
            3,
        );
        self.messages(messages);
        self.record(journal);
        self.process(leader.as_ref());
        self.process(stale.as_ref());
        for left in left.fields() {
            self.put(usize::from(left), 3);
        }
        self.put(violations.0 as usize, Violation::ALL.len());
        debug_assert!(self.used <= 5 * 64, "the key has no room");
    }

    /// Their order decides nothing.
    fn messages(&mut self, messages: &[Option<Message>; 2]) {
        let mut coded = messages.map(|message| self.coded(message));
        coded.sort_unstable();
        for code in coded {
            self.put(code, 11);
        }
    }

    fn coded(&self, message: Option<Message>) -> usize {
        let Some(Message { statement, epoch }) = message else {
            return 0;
        };
        let rank = self.epochs.binary_search(&epoch).unwrap_or_default() + 1;
        let (kind, more) = match statement {
            Statement::Close(side) => (1, side as usize),
            Statement::Open(side) => (2, side as usize),
            Statement::Promote { replayed, deadline } => {
                (3, usize::from(replayed) + 2 * usize::from(deadline))
            }
            Statement::AskApi => (4, 0),
        };
        kind + 8 * more + 128 * rank
    }

    fn record(&mut self, record: &Record) {
        let state = record.machine.state();
        self.machine(&record.machine);
        self.facts(&record.facts.that_count_in(state));
    }

    fn machine(&mut self, machine: &Machine) {
        self.epoch(Some(short(machine.epoch())));
        self.put(code(machine.state()), 7);
        let assertions = [
            Assertion::LossAccepted,
            Assertion::SourceDown,
            Assertion::TargetDown,
        ];
        let held = assertions.iter().position(|&that| machine.holds(that));
        self.put(held.map_or(0, |position| position + 1), 2);
        self.flag(machine.readers() == ReaderRoutes::Moved);
        self.flag(machine.fence_proof() == FenceProof::Given);
        self.flag(machine.promotion_awaited_since().is_some());
        self.flag(machine.alarm_backoff().is_some());
        self.put(machine.left_source() as usize, 2);
        self.flag(machine.held_since().is_some());
    }

    fn facts(&mut self, facts: &Facts) {
        for flag in [
            facts.closed,
            facts.replayed,
            facts.written_behind,
            facts.proved,
            facts.asked,
            facts.promoted,
            facts.target_closed,
            facts.target_written_behind,
            facts.strayed,
            facts.admits,
        ] {
            self.flag(flag);
        }
        self.put(facts.deadline.map_or(0, |left| usize::from(left) + 1), 2);
        self.put(
            match facts.stream {
                None => 0,
                Some(Coverage::Complete) => 1,
                Some(Coverage::Incomplete) => 2,
            },
            2,
        );
    }

    fn process(&mut self, process: Option<&Process>) {
        self.flag(process.is_some());
        let Some(process) = process else { return };
        self.record(&process.record);
        for session in [process.source, process.target] {
            self.flag(session == Session::Dead);
            self.epoch(match session {
                Session::Live(epoch) => Some(epoch),
                Session::None | Session::Dead => None,
            });
        }
        self.put(usize::from(process.at), 3);
        let pending = process.pending;
        let position = pending.and_then(|event| Event::ALL.iter().position(|&e| e == event));
        self.put(position.map_or(0, |position| position + 1), 6);
        self.flag(process.by_word);
    }
}

/// A state as a number.
fn code(state: State) -> usize {
    let place = |direction: Direction, step: usize| step + 8 * (direction as usize);
    match state {
        State::Planned => 0,
        State::SettingUp => 1,
        State::Prepared => 2,
        State::Undone => 3,
        State::RolledBack => 4,
        State::Completing => 5,
        State::Completed => 6,
        State::Cancelling => 7,
        State::Cancelled => 8,
        State::Promoting { stage } => match stage {
            PromotionStage::Requesting => 9,
            PromotionStage::UnderWay => 10,
            PromotionStage::Stalled => 11,
        },
        State::Baking { stream } => match stream {
            StreamState::Arming => 12,
            StreamState::ArmingForRollback => 13,
            StreamState::Proven => 14,
            StreamState::Broken => 15,
        },
        State::Switching { direction, step } => 16 + place(direction, step as usize),
        State::Undoing { direction, step } => 32 + place(direction, step as usize),
        State::NeedsOperator { direction, step } => 48 + place(direction, step as usize),
        State::Abandoned => 64,
    }
}
