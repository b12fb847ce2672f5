use pointsman_catalog::UnixMillis;
use serde::{Deserialize, Serialize};

use super::{
    alarms::AlarmBackoff, assertion::Assertion, command::Command, left_source::LeftSource,
    state::State,
};

/// Everything that decides what a migration does next. Only an event changes it.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub struct Machine {
    pub(super) state: State,
    pub(super) epoch: u64,
    pub(super) switches: u32,
    pub(super) assertion: Option<Assertion>,
    pub(super) alarm_backoff: Option<AlarmBackoff>,
    pub(super) readers: ReaderRoutes,
    pub(super) fence_proof: FenceProof,
    pub(super) promotion_awaited_since: Option<UnixMillis>,
    pub(super) left_source: LeftSource,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) held_since: Option<UnixMillis>,
}

/// Whether readers are served where they belong.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReaderRoutes {
    Settled,
    /// An undo serves readers of the target elsewhere until the target lets connections in
    /// again.
    Moved,
}

/// Whether the leader of this epoch has proved that the source's fence holds.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FenceProof {
    /// It proves the fence before it promotes or opens anything.
    Owed,
    Given,
}

impl Machine {
    /// A migration that was planned, and no more.
    pub fn planned() -> Self {
        Self {
            state: State::Planned,
            epoch: 1,
            switches: 0,
            assertion: None,
            alarm_backoff: None,
            readers: ReaderRoutes::Settled,
            fence_proof: FenceProof::Owed,
            promotion_awaited_since: None,
            left_source: LeftSource::Quiet,
            held_since: None,
        }
    }

    /// The one command that the engine owes now. What was abandoned is left as it is, its readers too.
    pub fn command(self) -> Option<Command> {
        let readers = match self.readers {
            ReaderRoutes::Settled => None,
            ReaderRoutes::Moved if self.state == State::Abandoned => None,
            ReaderRoutes::Moved => Some(Command::RestoreReaders),
        };
        self.state.command().or(readers)
    }

    /// Where the migration stands.
    pub fn state(self) -> State {
        self.state
    }

    /// Grows with each leader, switch, abort and decision; what an older one has under way on
    /// a server is ended there before anything new happens.
    pub fn epoch(self) -> u64 {
        self.epoch
    }

    /// Counts the switches, from 1.
    pub fn switches(self) -> u32 {
        self.switches
    }

    /// Whether an operator accepted or asserted `that` for the attempt under way.
    pub fn holds(self, that: Assertion) -> bool {
        self.assertion == Some(that)
    }

    /// Whether readers are served where they belong.
    pub fn readers(self) -> ReaderRoutes {
        self.readers
    }

    /// Since when a managed promotion has been waited for: its intent, or an operator's choice
    /// to wait longer. `None` when none is.
    pub fn promotion_awaited_since(self) -> Option<UnixMillis> {
        self.promotion_awaited_since
    }

    /// How long alarms wait after an undone rollback; `None` where none was undone.
    pub fn alarm_backoff(self) -> Option<AlarmBackoff> {
        self.alarm_backoff
    }

    /// What the watch of the bake has seen on the source.
    pub fn left_source(self) -> LeftSource {
        self.left_source
    }

    /// Since when new connections are held because the target of the bake is down; `None` when they
    /// are not.
    pub fn held_since(self) -> Option<UnixMillis> {
        self.held_since
    }

    /// Whether this leader has proved the source's fence.
    pub fn fence_proof(self) -> FenceProof {
        self.fence_proof
    }
}
