//! Positions in the write-ahead log, and what stands between them.

mod transactions;

use std::{
    collections::BTreeSet,
    sync::{Arc, OnceLock},
    time::Duration,
};

use async_trait::async_trait;
use futures_util::future::try_join_all;
use tokio::time::Instant;
use tokio_postgres::types::PgLsn;

use super::{
    control_sessions::ControlSessions,
    statements::{identifier, literal},
};
use crate::{
    Lsn,
    ports::{Exempt, Marker, ProviderError, UserCommits, WalProof},
};
use transactions::{Commit, Found};

/// Reads WAL by `pg_walinspect`.
#[derive(Debug)]
pub(super) struct SqlWalProof {
    control: Arc<ControlSessions>,
    /// The statement that reads WAL, once the schema of its function is known.
    reader: OnceLock<String>,
}

impl SqlWalProof {
    pub(super) fn new(control: Arc<ControlSessions>) -> Self {
        Self {
            control,
            reader: OnceLock::new(),
        }
    }

    /// The first use of an extension's function in a session loads it; that must not happen
    /// inside the pause. On a standby WAL can be read as well.
    pub(super) async fn warm_up(&self) -> Result<(), ProviderError> {
        let what = "look for pg_walinspect";
        if self
            .control
            .postgres
            .rows(what, WALINSPECT, &[])
            .await?
            .is_empty()
        {
            return Ok(());
        }
        let reader = self.reader(what).await?;
        let row = self.control.postgres.row(what, LAST_POSITION, &[]).await?;
        let end: Option<PgLsn> = row.get(0);
        let end = end.map(lsn_of).unwrap_or_default();
        let begin = Lsn(end.0 - end.0 % WARM_UP);
        // Whether a whole record stands there is of no interest.
        let _ = self
            .read_wal(what, &reader, begin, end, &Exempt::default())
            .await;
        Ok(())
    }

    /// How many of the transactions whose commit was read, but no write, wrote shortly before
    /// `since`. Where that WAL cannot be read any more each of them counts.
    async fn wrote_before(
        &self,
        what: &str,
        reader: &str,
        since: Lsn,
        unclear: &[Commit],
        exempt: &Exempt,
    ) -> u64 {
        if unclear.is_empty() {
            return 0;
        }
        // The segment before may be recycled; the one that `since` lies in cannot be.
        let far = Lsn(since.0.saturating_sub(CHUNK));
        let near = Lsn(since.0 - since.0 % SMALLEST_SEGMENT);
        let mut earlier = self.read_wal(what, reader, far, since, exempt).await;
        if earlier.is_err() {
            earlier = self.read_wal(what, reader, near, since, exempt).await;
        }
        let wrote = |commit: &&Commit| match &earlier {
            Ok(Some((_, found))) => found.wrote(commit),
            Ok(None) => false,
            Err(_) => true,
        };
        let count = unclear.iter().filter(wrote).count();
        u64::try_from(count).unwrap_or(u64::MAX)
    }

    /// What stands in `begin..end`, and where its last record ends; `None` when no record
    /// ends there.
    async fn read_wal(
        &self,
        what: &str,
        reader: &str,
        begin: Lsn,
        end: Lsn,
        exempt: &Exempt,
    ) -> Result<Option<(Lsn, Found)>, ProviderError> {
        let (begin, end) = (PgLsn::from(begin.0), PgLsn::from(end.0));
        let row = self
            .control
            .postgres
            .row(what, reader, &[&begin, &end, &exempt.filenodes])
            .await?;
        let reached: Option<PgLsn> = row.get(0);
        Ok(reached.map(|reached| {
            let found = Found {
                writers: row.get::<_, Vec<String>>(1).into_iter().collect(),
                own: row.get::<_, Vec<String>>(2).into_iter().collect(),
                commits: row
                    .get::<_, Vec<String>>(3)
                    .iter()
                    .map(|commit| Commit::parse(commit))
                    .collect(),
            };
            (lsn_of(reached), found)
        }))
    }

    /// The statement that reads WAL, with the schema that `pg_walinspect` was made in.
    async fn reader(&self, what: &str) -> Result<String, ProviderError> {
        if let Some(reader) = self.reader.get() {
            return Ok(reader.clone());
        }
        let rows = self.control.postgres.rows(what, WALINSPECT, &[]).await?;
        let schema: String = rows.first().map(|row| row.get(0)).ok_or_else(|| {
            self.control.unfit(
                "extension pg_walinspect is not in its database postgres; start the migration, \
                 which makes it, or run CREATE EXTENSION pg_walinspect there",
            )
        })?;
        let reader = READ_WAL.replace("SCHEMA", &identifier(&schema));
        Ok(self.reader.get_or_init(|| reader).clone())
    }
}

#[async_trait]
impl WalProof for SqlWalProof {
    /// The marker's record ends at the returned position; its commit follows, before `after`.
    async fn marker(&self, id: &str, datnames: &[String]) -> Result<Marker, ProviderError> {
        let what = "write the fence marker";
        let emit = emit("pointsman.fence", id);
        let lsn = if datnames.is_empty() {
            position(
                &self.control,
                what,
                &self.control.postgres.batch(what, &emit).await?,
            )?
        } else {
            let write = async |datname: &String| {
                let session = self.control.database(datname)?;
                position(&self.control, what, &session.batch(what, &emit).await?)
            };
            let written = try_join_all(datnames.iter().map(write)).await?;
            written.into_iter().max().unwrap_or_default()
        };
        let row = self
            .control
            .postgres
            .row(what, "SELECT pg_current_wal_insert_lsn()", &[])
            .await?;
        Ok(Marker {
            lsn,
            after: lsn_of(row.get(0)),
        })
    }

    /// A user commit is the commit of a transaction, or of a subtransaction, that wrote rows
    /// or a sequence of any relation that is not exempt; commits that carry an origin are the
    /// reverse stream's. Every commit of a transaction that was prepared counts: its writes
    /// may lie anywhere before.
    async fn user_commits(
        &self,
        since: Lsn,
        exempt: &Exempt,
    ) -> Result<UserCommits, ProviderError> {
        let what = "prove from WAL that nobody wrote";
        // Only what is flushed can be read, and a commit without `synchronous_commit` may be
        // acknowledged and not flushed: this flushes everything before it.
        let flushed = self
            .control
            .postgres
            .batch(what, &emit("pointsman.proof", ""))
            .await?;
        let through = position(&self.control, what, &flushed)?;
        let reader = self.reader(what).await?;
        let mut found = Found::default();
        let mut next = since;
        let mut chunk = CHUNK;
        let deadline = Instant::now() + PROOF;
        while next < through {
            if Instant::now() >= deadline {
                let found = format!("{next} is reached");
                return Err(self.control.timed_out(
                    &format!("reading WAL to {through}"),
                    PROOF,
                    found,
                ));
            }
            let end = through.min(Lsn(next.0.saturating_add(chunk)));
            let read = self.read_wal(what, &reader, next, end, exempt).await?;
            // A record that is longer than the chunk shows only in a longer one, and the next
            // chunk begins where the last record ended, not in the middle of one.
            match read {
                Some((reached, more)) => {
                    found.extend(more);
                    (next, chunk) = (reached, CHUNK);
                }
                None if end == through => break,
                None => chunk = chunk.saturating_mul(2),
            }
        }
        let own: BTreeSet<String> = exempt
            .xids
            .iter()
            .map(|xid| (xid & u64::from(u32::MAX)).to_string())
            .collect();
        let (sure, unclear) = found.judge(&own);
        let before = self
            .wrote_before(what, &reader, since, &unclear, exempt)
            .await;
        Ok(UserCommits {
            count: sure + before,
            through,
        })
    }
}

/// A transactional message; its commit flushes everything before it.
fn emit(prefix: &str, content: &str) -> String {
    format!(
        "SELECT pg_logical_emit_message(true, {}, {})",
        literal(prefix),
        literal(content)
    )
}

fn position(control: &ControlSessions, what: &str, rows: &[String]) -> Result<Lsn, ProviderError> {
    let lsn = rows.first().and_then(|row| row.parse().ok());
    lsn.ok_or_else(|| ProviderError::Failed {
        server: control.server.name.clone(),
        what: what.to_owned(),
        reason: "the server returned no position".to_owned(),
    })
}

fn lsn_of(lsn: PgLsn) -> Lsn {
    Lsn(lsn.into())
}

const WALINSPECT: &str = "SELECT n.nspname::text FROM pg_extension e \
     JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'pg_walinspect'";

const LAST_POSITION: &str = "SELECT CASE WHEN pg_is_in_recovery() \
     THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END";

/// `block_ref` names the relation as `rel tablespace/database/filenode`; TRUNCATE has none.
/// The description of a prepared transaction's commit begins with its transaction id.
/// <https://www.postgresql.org/docs/current/pgwalinspect.html>
const READ_WAL: &str = "SELECT max(end_lsn), \
       coalesce(array_agg(DISTINCT xid::text) FILTER ( \
         WHERE (resource_manager = 'Sequence' OR (resource_manager IN ('Heap', 'Heap2') \
             AND record_type ~ '^(INSERT|MULTI_INSERT|UPDATE|HOT_UPDATE|DELETE|TRUNCATE)')) \
           AND coalesce(substring(block_ref FROM 'rel (\\d+/\\d+/\\d+)'), '') <> ALL ($3)), '{}'), \
       coalesce(array_agg(DISTINCT xid::text) FILTER ( \
         WHERE resource_manager = 'LogicalMessage' \
           AND description LIKE '%prefix \"pointsman.%'), '{}'), \
       coalesce(array_agg(concat_ws(' ', record_type, xid, \
           substring(description FROM '^(\\d+): '), \
           substring(description FROM 'subxacts:([ 0-9]*)'))) FILTER ( \
         WHERE resource_manager = 'Transaction' AND record_type LIKE 'COMMIT%' \
           AND description !~ 'origin: node'), '{}') \
     FROM SCHEMA.pg_get_wal_records_info($1, $2)";

/// A statement that reads as much ends within its timeout, on a busy machine too.
const CHUNK: u64 = 4 * 1024 * 1024;
/// More WAL than can be read in this time cannot be counted while somebody waits.
const PROOF: Duration = Duration::from_secs(10);
const WARM_UP: u64 = 64 * 1024;
const SMALLEST_SEGMENT: u64 = 1024 * 1024;
