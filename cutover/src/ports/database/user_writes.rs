use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Lsn;

/// How far a server was looked at for what others wrote.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct WalReach {
    pub lsn: Lsn,
    /// Transactions that had written below `lsn` and had not ended, by the low 32 bits of their
    /// ids.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub open: Vec<u32>,
    /// The replication origins of the reverse stream here, by `roident`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub origins: Vec<u32>,
    /// How far its transaction ids were looked at; `None` where WAL was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ids: Option<IdReach>,
}

/// How far the transaction ids of a server were looked at.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct IdReach {
    /// The first id that was not looked at.
    pub next: u64,
    /// The lower ids whose transactions had not ended, prepared ones among them.
    pub open: Vec<u64>,
}

/// By what it is told who wrote on a server that is watched.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WatchMethod {
    /// The records in WAL say what each transaction wrote, and by which origin.
    #[default]
    WalRecords,
    /// Each id that was committed has its origin (`track_commit_timestamp`). An id does not say
    /// what was written.
    CommitOrigins,
}

/// In a sentence: looked at …
impl fmt::Display for WatchMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WalRecords => "by WAL records",
            Self::CommitOrigins => "by the origins of transaction ids",
        })
    }
}

/// The user commits on a server between two looks.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct UserWrites {
    pub by: WatchMethod,
    pub through: WalReach,
    /// What was left for the next look: bytes of WAL, or transaction ids.
    pub unread: u64,
    pub commits: Vec<UserCommit>,
    /// Ids of transactions that were committed and may be somebody's write or nobody's: an automatic
    /// ANALYZE takes one too.
    pub untold: Vec<u64>,
}

/// A transaction of somebody else that was committed.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct UserCommit {
    /// The low 32 bits of its id.
    pub xid: u32,
    /// The databases that it wrote in, as far as WAL says so.
    pub databases: Vec<String>,
}

/// `731 in orders`
impl fmt::Display for UserCommit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.xid)?;
        if !self.databases.is_empty() {
            write!(f, " in {}", self.databases.join(" and "))?;
        }
        Ok(())
    }
}
