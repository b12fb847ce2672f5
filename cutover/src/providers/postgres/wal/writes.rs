//! Who wrote on a server that is watched, from one look to the next.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    look::failed,
    own::{OWN, Own},
    records::{ByWalRecords, NotCounted},
    transactions::{Commit, Found},
};
use crate::{
    Lsn,
    ports::{Exempt, ProviderError, UserCommit, UserWrites, WalReach, WatchMethod},
};

impl ByWalRecords {
    /// See [`WalProof::user_writes`](crate::ports::WalProof).
    pub(super) async fn writes(
        &self,
        since: &WalReach,
        exempt: &Exempt,
        within: Duration,
    ) -> Result<UserWrites, ProviderError> {
        let seen = self.end().await?;
        // A subscription that was dropped meanwhile has applied what stands in WAL.
        let mut origins = seen.own.origins.clone();
        origins.extend(&since.origins);
        let not_counted = NotCounted {
            exempt,
            origins: &origins,
        };
        let (reached, mut found) = self
            .collect(since.lsn, seen.end, not_counted, within)
            .await?;
        for xid in &since.open {
            found.add_writer(&xid.to_string());
        }
        let own = &seen.own.xids | &found.marked;
        let judged = found.judge(&own);
        let reader = self.reader()?;
        let before = self
            .wrote_before(&reader, since.lsn, &judged.unclear, not_counted)
            .await;
        let users: Vec<_> = judged.users.iter().chain(before).collect();
        let commits = self.named(&found, &users).await?;
        let ended = judged.users.iter().chain(&judged.unclear);
        let ended: BTreeSet<_> = ended.flat_map(|commit| &commit.xids).collect();
        let open = found.writers.keys().filter(|xid| {
            !found.ended.contains(*xid) && !own.contains(*xid) && !ended.contains(xid)
        });
        let open = open.filter_map(|xid| xid.parse().ok());
        let origins = match reached == seen.end && seen.is_last {
            true => seen.own.origins,
            false => origins,
        };
        Ok(UserWrites {
            by: WatchMethod::WalRecords,
            through: WalReach {
                lsn: reached,
                open: open.filter(|&xid| runs(xid, seen.oldest)).collect(),
                origins: origins.into_iter().collect(),
                ids: None,
            },
            unread: seen.end.0.saturating_sub(reached.0),
            commits,
            untold: Vec::new(),
        })
    }

    /// A commit that did not wait for its flush is acknowledged all the same, so what is not
    /// flushed is flushed first. Only then a server that is idle is written to.
    ///
    /// The next look begins where this one ends, so that is where a record ends: one that straddled it
    /// would be read by neither.
    async fn end(&self) -> Result<Seen, ProviderError> {
        let postgres = &self.control.postgres;
        let unreadable = || {
            failed(
                &self.control.server.name,
                WATCH,
                "its position in WAL cannot be read",
            )
        };
        let seen = postgres.batch(WATCH, FLUSH).await?;
        let seen = seen.first().and_then(|seen| before_flush(seen));
        let (oldest, end) = seen.ok_or_else(unreadable)?;
        let rows = postgres.batch(WATCH, &format!("{END}; {OWN}")).await?;
        let later = match rows.first().map(String::as_str) {
            Some("") => None,
            later => Some(
                later
                    .and_then(|lsn| lsn.parse().ok())
                    .ok_or_else(unreadable)?,
            ),
        };
        Ok(Seen {
            oldest: low(oldest),
            end: later.unwrap_or(end),
            is_last: later.is_some(),
            own: Own::parse(&self.control, WATCH, rows.get(1))?,
        })
    }

    async fn named(
        &self,
        found: &Found,
        commits: &[&Commit],
    ) -> Result<Vec<UserCommit>, ProviderError> {
        if commits.is_empty() {
            return Ok(Vec::new());
        }
        let rows = self.control.postgres.rows(WATCH, DATABASES, &[]).await?;
        let rows = rows.iter().map(|row| (row.get(0), row.get(1)));
        let names: BTreeMap<String, String> = rows.collect();
        let name = |oid: &str| {
            let dropped = || format!("a database that is gone (oid {oid})");
            names.get(oid).cloned().unwrap_or_else(dropped)
        };
        let named = commits.iter().filter_map(|commit| {
            let databases = found.databases_of(commit).into_iter().map(name);
            Some(UserCommit {
                xid: commit.xids.first()?.parse().ok()?,
                databases: databases.collect(),
            })
        });
        Ok(named.collect())
    }
}

/// What a look at a server's WAL begins with.
#[derive(Debug)]
struct Seen {
    /// The oldest transaction that had not ended.
    oldest: u32,
    /// Where a record ends. All up to there is on the disk.
    end: Lsn,
    /// Nothing was behind it when the engine's own were asked for.
    is_last: bool,
    own: Own,
}

/// `XMIN LSN`: the oldest transaction that had not ended, and where WAL ended.
fn before_flush(seen: &str) -> Option<(u64, Lsn)> {
    let (oldest, end) = seen.split_once(' ')?;
    Some((oldest.parse().ok()?, end.parse().ok()?))
}

fn low(xid: u64) -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "the low 32 bits are meant")]
    let low = xid as u32;
    low
}

/// Whether a transaction may run while `oldest` is the oldest one that does. One that a crash of
/// the server ended leaves no record.
fn runs(xid: u32, oldest: u32) -> bool {
    xid.wrapping_sub(oldest) < u32::MAX / 2
}

const WATCH: &str = "look who wrote";

/// The insert position is an end of a record, the flushed one may lie in the middle of one.
const FLUSH: &str = "SELECT concat_ws(' ', pg_snapshot_xmin(pg_current_snapshot()), pg_current_wal_insert_lsn()), \
       CASE WHEN pg_current_wal_insert_lsn() > pg_current_wal_flush_lsn() \
         THEN pg_logical_emit_message(true, 'pointsman.watch', '') END";

/// Where WAL ends now, if that is on the disk.
const END: &str = "SELECT CASE WHEN position <= pg_current_wal_flush_lsn() THEN position::text ELSE '' END \
     FROM (SELECT pg_current_wal_insert_lsn() AS position OFFSET 0) AS now";

/// Shared catalogs are in none.
const DATABASES: &str = "SELECT oid::text, datname::text FROM pg_database \
     UNION ALL SELECT '0', 'the shared catalogs'";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_name_an_id_by_its_low_half() {
        assert_eq!(low((3 << 32) + 731), 731);
    }

    #[test]
    fn a_transaction_that_is_older_than_the_oldest_has_ended() {
        assert!(runs(731, 731) && runs(740, 731));
        assert!(!runs(730, 731));
        assert!(runs(731 + u32::MAX / 2 - 1, 731) && !runs(731 + u32::MAX / 2, 731));
        // Ids begin anew after the highest.
        assert!(runs(5, u32::MAX - 5) && !runs(u32::MAX - 5, 5));
    }
}
