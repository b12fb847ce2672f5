use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Lsn;

/// How far a server's WAL was read.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct WalReach {
    pub lsn: Lsn,
    /// Transactions that had written below `lsn` and had not ended, by the low 32 bits of their
    /// ids.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub open: Vec<u32>,
}

/// The user commits in a stretch of a server's WAL.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct UserWrites {
    pub through: WalReach,
    /// Bytes of WAL that were left for the next look.
    pub unread: u64,
    pub commits: Vec<UserCommit>,
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
