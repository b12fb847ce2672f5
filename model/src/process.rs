//! The engine's processes, and what they know.

use pointsman_cutover::machine::{Assertion, Command, Direction, Event, Machine, Side};

/// The record of a migration: in the journal, and in the memory of each process.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    pub machine: Machine,
    pub facts: Facts,
}

/// What of the record's facts decides anything here.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts {
    /// The fence token and the source's former settings are on record.
    pub closed: bool,
    /// The target has replayed the token's marker.
    pub replayed: bool,
    /// Somebody else has left something in the source's WAL behind the token's marker, or, in a bake,
    /// behind where the watch has read it.
    pub written_behind: bool,
    /// The proof of the source's fence is on record.
    pub proved: bool,
    /// How many times the clock must move on until the promotion's deadline has passed.
    pub deadline: Option<u8>,
    /// An API was asked for the promotion, or is about to be.
    pub asked: bool,
    /// The promotion is on record.
    pub promoted: bool,
    pub stream: Option<Coverage>,
    /// The fence of a rollback is on record.
    pub target_closed: bool,
    /// Somebody has written on the target behind that fence's marker.
    pub target_written_behind: bool,
    /// What others did on the source in a bake is on record.
    pub strayed: bool,
    /// A rollback lets superusers in to the source, and nobody has shut it again with proof.
    pub admits: bool,
}

/// Which writes of the target the slots of the reverse stream hold, as the record has it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Coverage {
    /// Every one since the promotion.
    Complete,
    Incomplete,
}

/// One process of the engine.
#[derive(Clone, Copy, Debug)]
pub struct Process {
    pub record: Record,
    pub source: Session,
    pub target: Session,
    /// How far the command under way is.
    pub at: u8,
    /// The command has ended in this, and the journal does not have it yet.
    pub pending: Option<Event>,
    /// The command goes on by an operator's word alone.
    pub by_word: bool,
}

/// A control session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Session {
    None,
    /// Under this epoch.
    Live(u8),
    /// It has ended, and the process does not know it yet.
    Dead,
}

/// Which of the two.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Who {
    /// The journal takes its writes.
    Leader,
    /// Another one has taken over, and it does not know that.
    Stale,
}

impl Process {
    /// A process with this record and nothing else.
    pub fn new(record: Record) -> Self {
        Self {
            record,
            source: Session::None,
            target: Session::None,
            at: 0,
            pending: None,
            by_word: false,
        }
    }

    /// Whether an operator accepted or asserted `that`.
    pub fn holds(&self, that: Assertion) -> bool {
        self.record.machine.holds(that)
    }

    /// Whether it does nothing more by itself but watch.
    pub(crate) fn owes_nothing(&self) -> bool {
        let owed = self.record.machine.command();
        self.is_between_commands() && matches!(owed, None | Some(Command::Watch))
    }

    pub(crate) fn session(&self, side: Side) -> Session {
        match side {
            Side::Source => self.source,
            Side::Target => self.target,
        }
    }

    pub(crate) fn session_mut(&mut self, side: Side) -> &mut Session {
        match side {
            Side::Source => &mut self.source,
            Side::Target => &mut self.target,
        }
    }

    pub(crate) fn forget_sessions(&mut self) {
        self.source = Session::None;
        self.target = Session::None;
    }

    /// Whether it has begun nothing that is not over.
    pub fn is_between_commands(&self) -> bool {
        self.at == 0 && self.pending.is_none()
    }
}

impl Facts {
    pub(crate) fn begin_switch(&mut self, direction: Direction) {
        match direction {
            Direction::Forward => *self = Self::default(),
            Direction::Reverse => {
                self.target_closed = false;
                self.target_written_behind = false;
            }
        }
    }

    /// The source is closed, and this is its token.
    pub(crate) fn learn_closed(&mut self) {
        *self = Self {
            closed: true,
            ..Self::default()
        };
    }

    /// A later marker stands for the token's.
    pub(crate) fn take_a_new_marker(&mut self) {
        self.replayed = false;
        self.written_behind = false;
    }
}

pub(crate) fn short(epoch: u64) -> u8 {
    u8::try_from(epoch).unwrap_or(u8::MAX)
}
