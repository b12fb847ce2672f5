use std::fmt;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::error::ProviderError;
use crate::Lsn;

/// Final positions, and proof from WAL that nobody wrote after them.
#[async_trait]
pub trait WalProof: fmt::Debug + Send + Sync {
    /// Writes a marker (`pg_logical_emit_message(true, 'pointsman.fence', …)`) in each of
    /// `datnames` and returns the end of the highest; every commit that was acknowledged
    /// before lies below it.
    async fn marker(&self, id: &str, datnames: &[String]) -> Result<Marker, ProviderError>;

    /// Counts user commits in this server's WAL from `since` to what is flushed now.
    async fn user_commits(&self, since: Lsn, exempt: &Exempt)
    -> Result<UserCommits, ProviderError>;
}

/// A fence marker.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Marker {
    /// The end of the marker's record: the last LSN that must arrive.
    pub lsn: Lsn,
    /// The insert position after the marker's commit, from which proofs count.
    pub after: Lsn,
}

/// What a WAL proof does not count: relations by `tablespace/database/filenode`, and the
/// engine's own transactions.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Exempt {
    pub filenodes: Vec<String>,
    pub xids: Vec<u64>,
}

/// The result of a WAL proof.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct UserCommits {
    pub count: u64,
    /// The flush position up to which was counted.
    pub through: Lsn,
}
