use std::{fmt, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{
    error::ProviderError,
    user_writes::{IdReach, UserWrites, WalReach},
};
use crate::Lsn;

/// Final positions, and proof that nobody wrote after them.
#[async_trait]
pub trait WalProof: fmt::Debug + Send + Sync {
    /// Looks at the server, then writes a marker (`pg_logical_emit_message(true,
    /// 'pointsman.fence', …)`) in each of `datnames`. Every commit that was acknowledged before
    /// the look lies below the marker; every later one is found by a proof since the look.
    async fn marker(&self, id: &str, datnames: &[String]) -> Result<Marker, ProviderError>;

    /// Brings all that was written so far to the disk by a commit of the engine's own, and returns the end of
    /// its message (`pg_logical_emit_message(true, 'pointsman.flush', '')`). A standby and a slot get there.
    /// Without that commit the end of WAL may stay in memory, or on the disk in part.
    async fn flush(&self) -> Result<Lsn, ProviderError>;

    /// Who wrote on this server since the look `since`, apart from the engine itself.
    async fn prove_unwritten(
        &self,
        since: &Look,
        exempt: &Exempt,
    ) -> Result<WriteProof, ProviderError>;

    /// Writes down on this server that its fence was seen broken. By transaction ids a proof since
    /// an earlier look then accepts nobody that it cannot tell.
    async fn note_breach(&self, breach: &str) -> Result<(), ProviderError>;

    /// Counts user commits in this server's WAL from `since` to what is flushed now; `None`
    /// where its WAL cannot be read.
    async fn user_commits(&self, since: Lsn, exempt: &Exempt)
    -> Result<Option<u64>, ProviderError>;

    /// The user commits on this server from `since` until now, the reverse stream's and the
    /// engine's in `moving` apart; `None` where nothing tells whose they are. Looks for no longer
    /// than `within`, and leaves the rest.
    async fn user_writes(
        &self,
        since: &WalReach,
        exempt: &Exempt,
        moving: &[String],
        within: Duration,
    ) -> Result<Option<UserWrites>, ProviderError>;
}

/// A fence marker.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Marker {
    /// The last LSN that must arrive.
    pub lsn: Lsn,
    /// From which proofs count.
    pub look: Look,
}

/// One look at a primary, by a transaction of its own.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Look {
    /// The end of its record in WAL.
    pub lsn: Lsn,
    /// Its transaction id, with the epoch (`xid8`).
    pub xid: u64,
    /// The lower ids whose transactions had not ended, prepared ones among them.
    pub open: Vec<u64>,
    /// The ids of markers that the engine wrote in other databases right after it.
    pub own: Vec<u64>,
}

/// WAL is read from a look on. Whoever had not ended at it is found by what was written before.
impl From<&Look> for WalReach {
    fn from(look: &Look) -> Self {
        Self {
            lsn: look.lsn,
            ids: Some(IdReach {
                next: look.xid + 1,
                open: look.open.clone(),
            }),
            ..Self::default()
        }
    }
}

/// The engine's look is its marker where one marker is enough.
impl From<Look> for Marker {
    fn from(look: Look) -> Self {
        Self {
            lsn: look.lsn,
            look,
        }
    }
}

impl Look {
    /// The same look, for a proof on the standby that was promoted at `fork`: what the two
    /// servers share ends there, and the standby goes on with the ids that follow.
    pub fn on_promoted(&self, fork: Lsn) -> Self {
        Self {
            lsn: fork,
            ..self.clone()
        }
    }
}

/// What a proof from WAL does not count, beside the engine's own transactions: relations, by
/// `tablespace/database/filenode`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Exempt {
    pub filenodes: Vec<String>,
}

/// By what a proof stands.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProofMethod {
    /// The records in WAL say what each transaction wrote.
    WalRecords,
    /// Every transaction that writes takes an id, and every id is accounted for. An id does not
    /// say what was written.
    TransactionIds,
}

/// The result of a proof.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct WriteProof {
    pub method: ProofMethod,
    /// The look that ended it.
    pub through: Look,
    pub finding: Finding,
}

/// What a proof found between two looks.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    Unwritten,
    /// So many user commits.
    Written(u64),
    /// Ids that only the owners of databases which cannot be closed can have taken: all others
    /// stayed closed, and autovacuum does not run.
    Accepted(Strangers),
    /// Ids whose transactions may have written anything.
    Unproven(Strangers),
}

/// Transactions of others.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Strangers {
    pub count: u64,
    /// The first few ids.
    pub xids: Vec<u64>,
    /// Databases that were open because the control role does not own them.
    pub not_closable: Vec<String>,
    /// Databases that one of them made or changed: it may have let somebody in.
    pub changed: Vec<String>,
    /// How the fence was seen broken meanwhile: one of them may have come in then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub breaches: Vec<String>,
}

impl ProofMethod {
    /// Every method.
    pub const ALL: [Self; 2] = [Self::WalRecords, Self::TransactionIds];
}

/// In a sentence: proved …
impl fmt::Display for ProofMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WalRecords => "by WAL records",
            Self::TransactionIds => "by transaction ids",
        })
    }
}

/// `3 transactions (731, 732, 733)`
impl fmt::Display for Strangers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<_> = self.xids.iter().map(u64::to_string).collect();
        let more = self.count.saturating_sub(self.xids.len() as u64);
        let s = if self.count == 1 { "" } else { "s" };
        write!(f, "{} transaction{s} ({}", self.count, ids.join(", "))?;
        if more > 0 {
            write!(f, " and {more} more")?;
        }
        f.write_str(")")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look() -> Look {
        Look {
            lsn: Lsn(0x20),
            xid: 731,
            open: vec![728],
            own: vec![732],
        }
    }

    #[test]
    fn a_proof_on_the_promoted_standby_counts_from_the_fork_by_the_same_ids() {
        let fork = Look {
            lsn: Lsn(0x30),
            ..look()
        };
        assert_eq!(look().on_promoted(Lsn(0x30)), fork);
    }

    #[test]
    fn a_look_is_a_marker_and_the_beginning_of_what_is_read() {
        let marker = Marker::from(look());
        assert_eq!((marker.lsn, marker.look), (Lsn(0x20), look()));
        let reach = WalReach::from(&look());
        assert_eq!((reach.lsn, reach.open), (Lsn(0x20), Vec::new()));
    }

    #[test]
    fn methods_are_said_in_a_sentence() {
        let said = ProofMethod::ALL.map(|method| method.to_string());
        assert_eq!(said, ["by WAL records", "by transaction ids"]);
    }

    #[test]
    fn strangers_are_named_by_their_ids_and_many_are_counted() {
        let mut strangers = Strangers {
            count: 1,
            xids: vec![731],
            ..Strangers::default()
        };
        assert_eq!(strangers.to_string(), "1 transaction (731)");
        strangers.count = 12;
        assert_eq!(strangers.to_string(), "12 transactions (731 and 11 more)");
    }
}
