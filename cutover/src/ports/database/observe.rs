use std::fmt;

use async_trait::async_trait;
use pointsman_catalog::UnixMillis;
use serde::{Deserialize, Serialize};

use super::error::ProviderError;
use crate::Lsn;

/// Says what a server is now.
#[async_trait]
pub trait Observe: fmt::Debug + Send + Sync {
    /// Identity, role, position and database list, read in one statement each.
    async fn observe(&self) -> Result<Observation, ProviderError>;

    /// Where this primary left `timeline`, by the history of its own one.
    async fn left_timeline(&self, _timeline: u32) -> Result<LeftTimeline, ProviderError> {
        Ok(LeftTimeline::NotKnown)
    }
}

/// What the history of a primary's timeline says of another timeline.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LeftTimeline {
    /// It has all that was written there up to this position, and nothing behind it.
    At(Lsn),
    /// It was never on it.
    Never,
    /// The history cannot be read by the control role, or is not there.
    NotKnown,
}

/// What a server says of itself.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Observation {
    /// `pg_control_system()`; a physical copy has its origin's.
    pub system_identifier: String,
    /// From the insert position on a primary, from the last checkpoint on a standby.
    pub timeline: u32,
    pub in_recovery: bool,
    /// Insert position on a primary, replay position on a standby. A standby of a primary may not get there
    /// before somebody commits; see [`WalProof::flush`](super::WalProof::flush).
    pub position: Lsn,
    /// `pg_last_wal_replay_lsn()`; after a promotion it stays where recovery ended. A restart
    /// forgets it: then it is read from the timeline's history, where the control role may read
    /// files, and is unknown elsewhere.
    pub replayed: Option<Lsn>,
    /// `server_version_num`.
    pub version: u32,
    /// The server's own clock.
    pub clock: UnixMillis,
    pub databases: Vec<DatabaseSettings>,
}

/// One row of `pg_database`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct DatabaseSettings {
    pub datname: String,
    pub oid: u32,
    pub allow_connections: bool,
    /// `datconnlimit`; -1 is none.
    pub connection_limit: i32,
    pub is_template: bool,
}
